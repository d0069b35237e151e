"""The errors a user can mend: one line that says what was wrong, where, and what to do.

Where there is more to say than one thing, indented lines follow.
"""


class UserError(Exception):
    """Something outside the code is wrong (a setting, a file, the disk). Its message is all the user sees."""


class DataError(UserError):
    """A data set or one of its files can't be used as it is."""


class GateError(DataError):
    """Data failed a gate: the chain stops before it trains on them."""
