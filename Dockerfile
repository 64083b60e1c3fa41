# posterity on the CPU: docker build -t posterity . && docker run --rm -v "$PWD/results:/results" posterity --help
FROM python:3.11-slim
WORKDIR /opt/posterity
COPY pyproject.toml README.md LICENSE ./
COPY calib calib
COPY sim sim
COPY ode ode
COPY behaviour behaviour
COPY protocols protocols
COPY epi epi
COPY experiments experiments
COPY posterity posterity
RUN pip install --no-cache-dir .
WORKDIR /results
ENTRYPOINT ["posterity"]
CMD ["--help"]
