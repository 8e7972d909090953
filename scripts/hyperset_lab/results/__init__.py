# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Results that are kept: small JSON files made of finished runs, and the page of documents made of them."""
