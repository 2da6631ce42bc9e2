"""What developers run: checkers of documents, the chart, files of other authors."""
