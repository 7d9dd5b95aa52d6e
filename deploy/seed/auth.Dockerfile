# The authorization service of examples/seed, whose extension needs a shell and Python. FROM is the only line that
# Customhouse changes.
FROM customhouse:python
COPY config/ /config/
COPY extensions/ /extensions/
COPY ssl/ /ssl/
VOLUME /logs
EXPOSE 5001
CMD ["/docker_auth/auth_server", "-alsologtostderr=true", "-log_dir=/logs", "/config/extAuth.yml"]
