"""What `queries` makes of the dashboards' expressions, and what it takes for an answer."""

import math
import unittest
from types import SimpleNamespace

import queries
from boards.pages import ALL, metrics


def answers(**series: float) -> SimpleNamespace:
    """A database that holds `series`, each by its name alone."""

    def instant(expression: str) -> dict:
        name = expression.removeprefix("count(").removesuffix(")")
        return {frozenset([("__name__", name)]): series[name]} if name in series else {}

    return SimpleNamespace(name="fake", instant=instant)


class Expressions(unittest.TestCase):
    def test_variables_are_filled_in(self) -> None:
        expr = 'rate(a{cluster=~"$cluster",task_name=~"$task"}[$__rate_interval])'
        self.assertEqual(queries.substituted(expr), 'rate(a{cluster=~".*",task_name=~".*"}[30s])')

    def test_a_variable_that_no_dashboard_has_is_an_error(self) -> None:
        with self.assertRaises(ValueError):
            queries.substituted('a{b=~"$nobody"}')

    def test_all_expressions_can_be_filled_in(self) -> None:
        asked = [query.expr for board in ALL for panel in board.panels() for query in panel.queries]
        self.assertGreater(len(asked), 150)
        for expr in asked:
            self.assertNotIn("$", queries.substituted(expr))

    def test_metrics_of_an_expression(self) -> None:
        expr = "time() - min by (job_name) (flink_a_b > 0) / flinkrelay_c_total and on (flinkish) up"
        self.assertEqual(metrics(expr), {"flink_a_b", "flinkrelay_c_total"})


class Answers(unittest.TestCase):
    def test_nan_alone_fills_no_panel(self) -> None:
        self.assertFalse(queries._filled(answers(a=math.nan), "a"))
        self.assertFalse(queries._filled(answers(), "a"))
        self.assertTrue(queries._filled(answers(a=0), "a"))

    def test_series_that_are_missing_are_named(self) -> None:
        there = answers(flink_here=3)
        self.assertEqual(queries._missing(there, "flink_here / flink_gone"), ["flink_gone"])
        # A healthy cluster does not have it, and the table says why.
        self.assertEqual(queries._missing(there, "flinkrelay_scrape_failure == 1"), [])


if __name__ == "__main__":
    unittest.main()
