package authn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"customhouse"
	"customhouse/outbound"
)

// RedisAddress is where a Redis server is, or a cluster of them of which several are named.
type RedisAddress struct {
	servers        []string // host:port, or the path of one's socket
	user, password string
	database       int
	tls, anyone    bool // anyone: whatever certificate is shown
}

const redisPort = "6379"

// ParseRedisAddress reads redis://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE, or rediss:// with TLS, where all but the hosts
// may be left out. ?skip_verify=true takes any certificate. A socket is unix://USER:PASSWORD@/PATH?db=DATABASE. The error quotes
// nothing of it.
func ParseRedisAddress(text customhouse.Secret) (a RedisAddress, err error) {
	bad := errors.New("want redis://HOST:PORT or rediss://HOST:PORT, with USER:PASSWORD@ before the host and /DATABASE after it where that is needed; or unix:///PATH")
	scheme, rest, _ := strings.Cut(string(text), "://")
	if scheme == "unix" {
		return parseRedisSocket(text, bad)
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	at := strings.LastIndexByte(rest[:end], '@') + 1
	for _, host := range strings.Split(rest[at:end], ",") { // several are no URL
		u, err := url.Parse("redis://" + host)
		if err != nil || u.Hostname() == "" || u.Host != host {
			return a, bad
		}
		port := u.Port()
		if port == "" {
			port = redisPort
		}
		a.servers = append(a.servers, net.JoinHostPort(u.Hostname(), port))
	}
	u, err := url.Parse(scheme + "://" + rest[:at] + "host" + rest[end:])
	if err != nil || scheme != "redis" && scheme != "rediss" || u.Fragment != "" {
		return a, bad
	}
	a.tls = scheme == "rediss"
	a.user = u.User.Username()
	a.password, _ = u.User.Password()
	if database := strings.Trim(u.Path, "/"); database != "" {
		if a.database, err = strconv.Atoi(database); err != nil || a.database < 0 {
			return a, bad
		}
	}
	for key, values := range u.Query() {
		if key != "skip_verify" || len(values) != 1 || values[0] != "true" {
			return a, bad
		}
		a.anyone = true
	}
	return a, nil
}

func parseRedisSocket(text customhouse.Secret, bad error) (a RedisAddress, err error) {
	u, err := url.Parse(string(text))
	if err != nil || u.Host != "" || !strings.HasPrefix(u.Path, "/") || u.Fragment != "" {
		return a, bad
	}
	a.servers, a.user = []string{u.Path}, u.User.Username()
	a.password, _ = u.User.Password()
	for key, values := range u.Query() {
		if a.database, err = strconv.Atoi(values[0]); key != "db" || len(values) != 1 || err != nil || a.database < 0 {
			return RedisAddress{}, bad
		}
	}
	return a, nil
}

// String names the servers.
func (a RedisAddress) String() string {
	return strings.Join(a.servers, ",") + "/" + strconv.Itoa(a.database)
}

const (
	redisTimeout = 10 * time.Second // of a connection, and of each question
	redisBatch   = 500              // records that are asked for at once
)

// ReadDockerAuthRedis is ReadDockerAuth for a database in Redis (redis_token_db). Of several servers one has to answer. The
// database is not changed, and docker_auth may go on with it.
func (b *Browser) ReadDockerAuthRedis(ctx context.Context, a RedisAddress) ([]customhouse.ImportedSignIn, error) {
	var outages error
	for _, server := range a.servers {
		all, err := b.readRedis(ctx, a, server)
		if err == nil {
			return all, nil
		}
		outages = errors.Join(outages, fmt.Errorf("read docker_auth's database in Redis at %s: %w", server, err))
	}
	return nil, outages
}

func (b *Browser) readRedis(ctx context.Context, a RedisAddress, server string) ([]customhouse.ImportedSignIn, error) {
	masters, err := a.masters(ctx, server)
	if err != nil {
		return nil, err
	}
	records := map[string][]byte{}
	for _, m := range masters {
		if err := a.read(ctx, m, records); err != nil {
			return nil, err
		}
	}
	return b.importRecords(records, slog.String("server", server)), nil
}

// dial connects to a server, by an outbound dialer as all others do.
func (a RedisAddress) dial(ctx context.Context, server string) (redis.Conn, error) {
	network, dial := "tcp", outbound.NewDialer(outbound.Options{Timeout: redisTimeout, Private: true}).DialContext
	if strings.HasPrefix(server, "/") {
		network, dial = "unix", (&net.Dialer{Timeout: redisTimeout}).DialContext
	}
	return redis.DialContext(ctx, network, server,
		redis.DialContextFunc(dial),
		redis.DialReadTimeout(redisTimeout), redis.DialWriteTimeout(redisTimeout), redis.DialTLSHandshakeTimeout(redisTimeout),
		redis.DialUsername(a.user), redis.DialPassword(a.password), redis.DialDatabase(a.database),
		redis.DialUseTLS(a.tls), redis.DialTLSSkipVerify(a.anyone))
}

// masters returns the servers that together have all records: the one that is asked, or those of the cluster that it is of.
func (a RedisAddress) masters(ctx context.Context, server string) ([]string, error) {
	c, err := a.dial(ctx, server)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	slots, err := redis.Values(redis.DoContext(c, ctx, "CLUSTER", "SLOTS"))
	if err != nil && !errors.As(err, new(redis.Error)) { // a server that is in no cluster says no
		return nil, err
	}
	var all []string
	for _, slot := range slots { // first, last, master [host, port, ...], replicas
		parts, err := redis.Values(slot, nil)
		var first, last, at int
		var host string
		var master []any
		if err == nil {
			_, err = redis.Scan(parts, &first, &last, &master)
		}
		if err == nil {
			_, err = redis.Scan(master, &host, &at)
		}
		if err != nil {
			return nil, fmt.Errorf("slots of the cluster are not understood: %w", err)
		}
		if host == "" || host == "?" { // one that does not know by which name it is reached
			if host, _, err = net.SplitHostPort(server); err != nil {
				return nil, err
			}
		}
		if master := net.JoinHostPort(host, strconv.Itoa(at)); !slices.Contains(all, master) {
			all = append(all, master)
		}
	}
	if all == nil {
		all = []string{server}
	}
	return all, nil
}

// read puts the records of one server into records, by account.
func (a RedisAddress) read(ctx context.Context, server string, records map[string][]byte) error {
	c, err := a.dial(ctx, server)
	if err != nil {
		return err
	}
	defer c.Close()
	for cursor := "0"; ; {
		page, err := redis.Values(redis.DoContext(c, ctx, "SCAN", cursor, "MATCH", recordPrefix+"*", "COUNT", redisBatch))
		if err != nil {
			return err
		}
		var keys []string
		if _, err := redis.Scan(page, &cursor, &keys); err != nil {
			return err
		}
		for _, key := range keys {
			if err := c.Send("GET", key); err != nil { // one by one: keys of a cluster's server are no group
				return err
			}
		}
		if err := c.Flush(); err != nil {
			return err
		}
		for _, key := range keys {
			record, err := redis.Bytes(redis.ReceiveContext(c, ctx))
			switch {
			case errors.Is(err, redis.ErrNil): // it is gone meanwhile
			case err != nil:
				return fmt.Errorf("record %q: %w", key, err)
			default:
				records[strings.TrimPrefix(key, recordPrefix)] = record
			}
		}
		if cursor == "0" {
			return nil
		}
	}
}
