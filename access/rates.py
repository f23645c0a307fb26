"""How a rate is written: COUNT/PERIOD, as in 60/m.

Stricter than the limiter's own reading, which takes `5/x` for five a second.
"""

import re

RATE = re.compile(r"^[1-9][0-9]{0,8}/[smhd]\Z")
RATE_FORM = "must be COUNT/PERIOD with s, m, h or d, such as 60/m"
