"""Products as the model knows them: texts, promotions, popularity."""
