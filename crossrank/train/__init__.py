"""Training: data in, a model folder out. Needs crossrank[train].

records.py    JSONL -> Records, checked line by line; several files mixed by weight, without end
leakage.py    training queries that evaluations ask too
survey.py     a first reading: lines checked and counted, leaks found; resuming.py: work that outlives a kill
mining.py     hard negatives from corpus.py's searches, chosen by negatives.py
teaching.py   a teacher's scores
students.py   smaller models out of a teacher's weights, with narrowing.py and alibi.py
stages.py     a recipe.py run stage by stage: trainer.py, losses.py, monitor.py, freezing.py, lora.py, dev.py, card.py
bridge.py     our model inside sentence-transformers, fed by feeding.py, saved by saving.py
"""

from crossrank.errors import need

need("bm25s", "sentence_transformers", "transformers", extra="train")
