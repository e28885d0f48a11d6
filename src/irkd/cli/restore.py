def restore() -> None:
    """(being built)"""
