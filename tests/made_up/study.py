"""The made-up study of the tests: that which `posterity new` writes."""

from posterity.template.study import study as study
