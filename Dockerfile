# syntax=docker/dockerfile:1

# The program: everything is compiled from the lock file, C libraries included.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# What was compiled before is kept from build to build, and is no part of the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/source/target,sharing=locked \
    cargo build --release --locked --package holdfast \
    && install -D target/release/holdfast /out/holdfast

# What runs: the program, and nothing to build with.
FROM debian:bookworm-slim
RUN groupadd --system --gid 10001 holdfast \
    && useradd --system --uid 10001 --gid holdfast --home-dir /var/lib/holdfast --no-create-home \
        --shell /usr/sbin/nologin holdfast \
    && install --directory --owner holdfast --group holdfast --mode 0700 /var/lib/holdfast
COPY --from=build /out/holdfast /usr/local/bin/holdfast
USER 10001:10001
ENV HOLDFAST_DATA_DIR=/var/lib/holdfast \
    HOLDFAST_SERVER__LISTEN=0.0.0.0:8080
VOLUME /var/lib/holdfast
EXPOSE 8080
# The server ends what is on its way, which takes ten seconds at most.
STOPSIGNAL SIGTERM
# There is no curl here, but bash can talk to a port.
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [ \"$status\" = 200 ]"]
ENTRYPOINT ["holdfast"]
CMD ["serve"]
