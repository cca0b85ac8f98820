"""Grafana's dashboards as Python: `model` turns data into JSON, the others are the data, `pages` lists and explains them."""
