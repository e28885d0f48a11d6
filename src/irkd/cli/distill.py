def distill() -> None:
    """(being built)"""
