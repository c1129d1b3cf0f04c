# The image in which flows run on ECS, and the worker that starts them: `make image`. It holds what is locked in
# requirements.txt and this package, nothing that only development needs; the worker gives the command.
ARG BASE=python:3.11.14-slim-bookworm

FROM ${BASE} AS build
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
WORKDIR /build
COPY requirements.txt requirements-dev.txt ./
# uv itself with the hashes of the lock, as in the Makefile.
RUN grep -A 40 '^uv==' requirements-dev.txt | sed -n '1p;2,/^[^ ]/{/^    --hash/p}' > uv.txt \
    && python3 -m venv tools \
    && tools/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes -r uv.txt
# Wheels only: what an sdist runs when it is built is in no lock. Their tests and the data of those stay out.
RUN --mount=type=cache,target=/root/.cache/uv \
    python3 -m venv --without-pip /opt/millrace \
    && tools/bin/uv pip sync --quiet --python /opt/millrace/bin/python --require-hashes --no-build requirements.txt \
    && find /opt/millrace -type d -name tests -prune -exec rm -r {} +
COPY . .
RUN --mount=type=cache,target=/root/.cache/uv \
    tools/bin/uv build --quiet --wheel --out-dir dist --python /opt/millrace/bin/python \
        --build-constraints requirements-dev.txt --require-hashes \
    && tools/bin/uv pip install --quiet --python /opt/millrace/bin/python --prefix /opt/own --no-deps dist/*.whl \
    && rm -f /opt/own/.lock

FROM ${BASE}
RUN useradd --uid 10001 --user-group --create-home --shell /usr/sbin/nologin millrace
COPY --from=build /opt/millrace /opt/millrace
ENV PATH=/opt/millrace/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PREFECT_HOME=/home/millrace/.prefect \
    MPLCONFIGDIR=/home/millrace/.matplotlib \
    DO_NOT_TRACK=1
USER 10001:10001
WORKDIR /home/millrace
# Matplotlib's list of fonts, else the first chart of every container pays for it.
RUN python -c "import matplotlib.font_manager"
# Last, and apart: from one commit to the next only this is pushed and fetched.
COPY --from=build /opt/own /opt/millrace
LABEL org.opencontainers.image.title=millrace
CMD ["millrace", "--help"]
