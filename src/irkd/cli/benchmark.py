def benchmark() -> None:
    """(being built)"""
