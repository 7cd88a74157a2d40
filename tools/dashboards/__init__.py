"""The dashboards of the chart, made from code: three pages that share their units, colours and words.

`python -m dashboards write` makes charts/seawall/dashboards/*.json; the JSON is what people load.
"""
