def evaluate() -> None:
    """(being built)"""
