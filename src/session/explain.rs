//! Why a statement is or is not answered from the cache, in words.
