# docker build -t deal .                              on the processor
# docker build -t deal --build-arg DEVICE=cuda .      on an NVIDIA GPU (docker run --gpus all)
# docker run --rm -u "$(id -u):$(id -g)" -v "$PWD:/data" deal restore in -o out
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ARG DEVICE=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY deal_cli deal_cli
COPY weights weights
RUN python -m venv /opt/deal
# PyTorch's build for processors is a tenth of the size of the one that brings CUDA along.
RUN if [ "$DEVICE" = cpu ]; then \
        /opt/deal/bin/pip install "$(grep '^torch==' constraints.txt)" \
            --index-url https://download.pytorch.org/whl/cpu; \
    fi
RUN /opt/deal/bin/pip install -c constraints.txt '.[video]'

FROM python:${PYTHON}-slim
COPY --from=build /opt/deal /opt/deal
ENV PATH=/opt/deal/bin:$PATH
# Whoever `docker run -u` names may write what libraries keep in a home folder, and in /data alone.
ENV HOME=/tmp
RUN useradd --create-home deal && mkdir /data && chown deal /data
USER deal
WORKDIR /data
VOLUME /data
ENTRYPOINT ["deal"]
CMD ["--help"]
