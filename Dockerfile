# The studio (and every other command) in a container:
#   docker build -t openvmas . && docker compose up
# Nothing is written but below /data, so the root can be read-only; it runs as a user without rights.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE REUSE.toml ./
COPY LICENSES LICENSES
COPY examples examples
COPY openvmas openvmas
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim
# Extras of openvmas beside the core; `web,ray` makes the image of a cluster's nodes.
ARG EXTRAS=web
LABEL org.opencontainers.image.title="OpenVMAS" \
      org.opencontainers.image.description="Background music for your video" \
      org.opencontainers.image.licenses="Apache-2.0 AND CC-BY-SA-4.0 AND CC-BY-4.0 AND CC-BY-3.0 AND CC0-1.0 AND MIT"
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    for wheel in /wheels/*.whl; do pip install --no-cache-dir "openvmas[$EXTRAS] @ file://$wheel" || exit 1; done \
    && useradd --uid 10001 --create-home --home-dir /data openvmas
USER 10001
WORKDIR /data
ENV HOME=/data \
    OPENVMAS_CACHE=/data/cache \
    PYTHONDONTWRITEBYTECODE=1
VOLUME /data
EXPOSE 8765
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8765/', timeout=4)"]
ENTRYPOINT ["openvmas"]
# Others can reach it, so it asks for a token: give OPENVMAS_TOKEN, 16 characters or more.
CMD ["studio", "--host", "0.0.0.0", "--no-browser", "--folder", "/data/studio"]
