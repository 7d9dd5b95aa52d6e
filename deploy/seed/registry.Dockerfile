# The registry of examples/seed. FROM is the only line that Customhouse changes.
FROM customhouse
COPY config.yml /etc/docker/registry/config.yml
COPY ssl/ /ssl/
COPY ssl/domain.crt /etc/ssl/certs/
VOLUME /var/lib/registry
EXPOSE 443
CMD ["/bin/registry", "serve", "/etc/docker/registry/config.yml"]
