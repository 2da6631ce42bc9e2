"""What `codewell doctor` finds: facts are read first, then pure rules say what is wrong and what to mend."""
