"""Training: data in, a model folder out. Needs crossrank[train].

    records.py   JSONL -> Records, checked line by line; several files mixed by weight, without end
"""

from crossrank.errors import need

need("sentence_transformers", "transformers", extra="train")
