# The same in an image that has a shell and Python, for extensions that are scripts, and for Dockerfiles with RUN lines.
FROM python:3-slim-bookworm
COPY --from=customhouse /bin/ /bin/
COPY --from=customhouse /docker_auth/ /docker_auth/
CMD ["/bin/customhouse", "serve", "-c", "/etc/customhouse/customhouse.yml", "--data", "/var/lib/customhouse"]
