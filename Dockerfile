# CPU:  docker build -t actiontubes .
# GPU:  docker build -t actiontubes --build-arg BASE=nvidia/cuda:12.6.3-runtime-ubuntu24.04 .
# Run:  docker run --rm -v "$PWD:/data" --user "$(id -u)" actiontubes detect my_video.mp4 --out tubes
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE}

# CUDA's images bring no Python; the slim images of Python have their own.
# hadolint ignore=DL3008
RUN if ! python3 -m venv --help >/dev/null 2>&1; then \
        apt-get update && \
        apt-get install -y --no-install-recommends python3 python3-venv && \
        rm -rf /var/lib/apt/lists/*; \
    fi && \
    python3 -m venv /opt/actiontubes
ENV PATH=/opt/actiontubes/bin:$PATH

# Options of pip, for example another index: PyTorch's wheels without CUDA are a tenth of the size.
ARG PIP_OPTIONS=""
COPY . /usr/local/src/actiontubes
# hadolint ignore=DL3013,SC2086
RUN pip install --no-cache-dir ${PIP_OPTIONS} /usr/local/src/actiontubes

# Any user may run it: weights and calibration are kept in a folder that all can write to.
ENV HOME=/home/tubes
RUN mkdir -m 777 /home/tubes /data
USER 10001
WORKDIR /data
ENTRYPOINT ["actiontubes"]
CMD ["--help"]
