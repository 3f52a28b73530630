# Two stages: the first has the compiler, the second only the libraries. Any Debian 12 image serves as BASE.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        gcc libc6-dev make pkg-config libmicrohttpd-dev libcjson-dev libopenblas-dev libuv1-dev libsqlite3-dev nettle-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN make -j2 lag && make install DESTDIR=/out PREFIX=/usr

FROM ${BASE}
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        libmicrohttpd12 libcjson1 libopenblas0-pthread libuv1 libsqlite3-0 libnettle8 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 lag \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/lag --shell /usr/sbin/nologin lag \
    && install -d -o 10001 -g 10001 -m 0750 /var/lib/lag
COPY --from=build /out/usr/bin/lag /usr/bin/lag

# Options come from the environment, so that another command line (serve --token-file …) keeps address and store. Beyond
# loopback the server wants a token or --insecure; without either it says so and stops.
ENV LAG_LISTEN=0.0.0.0:8080 LAG_STORE=/var/lib/lag
USER 10001:10001
WORKDIR /var/lib/lag
# The one place that is written to: the root may be mounted read-only.
VOLUME ["/var/lib/lag"]
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 CMD ["lag", "health"]
ENTRYPOINT ["lag"]
CMD ["serve"]
