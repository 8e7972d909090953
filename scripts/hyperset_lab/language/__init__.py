# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Language models: text that is cut into blocks, for models that write it and for models that fill in what is masked."""
