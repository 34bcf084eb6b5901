"""A folder of documents becomes passages that can be searched: for the retrieval arm of an assessment, and for answers
with sources.

    index = Corpus.build(folder, workspace)
    index.search("How long may I return a lamp?", 4)    → passages with id, text, score and source

The same folder and options give the same passages, ids and order, on every machine.
"""

from tunesmith.text.retrieval.documents import SUFFIXES, LeftOut
from tunesmith.text.retrieval.index import CORPUS, Corpus, Index, Passage, RetrievalOptions, reciprocal_rank_fusion

__all__ = ["CORPUS", "SUFFIXES", "Corpus", "Index", "LeftOut", "Passage", "RetrievalOptions", "reciprocal_rank_fusion"]
