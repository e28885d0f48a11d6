def export() -> None:
    """(being built)"""
