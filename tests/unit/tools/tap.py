"""Runs functions as tests and says how they went, in TAP."""


def run_tests(tests):
    """Each is a function that fails by an AssertionError. The exit status: 1 when any failed."""
    failed = 0
    print(f"1..{len(tests)}")
    for number, test in enumerate(tests, 1):
        try:
            test()
            print(f"ok {number} - {test.__name__}")
        except AssertionError as error:
            failed += 1
            print(f"not ok {number} - {test.__name__}\n# {error}")
    return 1 if failed else 0
