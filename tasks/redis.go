package tasks

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Redis is a parsed Redis address. It holds the password and shows it nowhere.
type Redis struct {
	shown    string
	hosts    []string
	simple   *redis.Options
	failover *redis.FailoverOptions
	cluster  *redis.ClusterOptions
}

// redisForms is what an address may look like, for messages.
const redisForms = "redis://, rediss://, unix://, redis-sentinel://, redis-cluster://, rediss-sentinel:// or rediss-cluster://"

// ParseRedis reads the address of a Redis in any of its forms:
//
//	redis://[user:password@]host[:6379][/db]            rediss:// for TLS
//	redis-sentinel://[user:password@]s1[:26379],s2,s3[/db]?master_name=NAME   rediss-sentinel://
//	redis-cluster://[user:password@]h1[:6379],h2,h3     rediss-cluster://
//	unix://[user:password@]/path/to/redis.sock[?db=N]
//
// The options of go-redis (pool_size, read_timeout, …) are taken from the
// query. The user and password of a sentinel address are the sentinels' own;
// those of the servers behind them are username and password in the query.
//
// With TLS the query may name files in PEM: tls_ca_file, the authorities that
// the servers' certificates are checked against instead of the system's;
// tls_cert_file and tls_key_file, the certificate that is shown to them, read
// anew for each connection; and tls_server_name, the name that theirs must have
// if it is not the host's.
//
// An error never shows a user name or password.
func ParseRedis(address string) (*Redis, error) {
	form, rest, ok := strings.Cut(address, "://")
	if !ok {
		return nil, fmt.Errorf("not a Redis address: it starts with none of %s", redisForms)
	}
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	user, hosts := "", authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, hosts = authority[:i+1], authority[i+1:]
	}
	if err := checkTail(tail); err != nil {
		return nil, err
	}
	path, query, _ := strings.Cut(tail, "?")
	query, secured, err := takeTLS(query)
	if err != nil {
		return nil, err
	}
	if tail = path; query != "" {
		tail += "?" + query
	}
	r, err := parseForm(form, user, hosts, tail)
	if err != nil {
		return nil, err
	}
	if err := r.secure(secured); err != nil {
		return nil, err
	}
	r.shown = form + "://" + hosts + path
	return r, nil
}

// checkTail refuses what a password that isn't percent-encoded does to a URL
// before any part of it can reach a message.
func checkTail(tail string) error {
	path, query, _ := strings.Cut(tail, "?")
	keys := path
	for pair := range strings.SplitSeq(query, "&") {
		key, _, _ := strings.Cut(pair, "=")
		keys += key
	}
	if strings.ContainsAny(keys, "@") || strings.Contains(tail, "#") {
		return errors.New("not a Redis address: characters such as / ? # @ in a user name or password must be percent-encoded")
	}
	return nil
}

func parseForm(form, user, hosts, tail string) (*Redis, error) {
	if form == "unix" {
		return parseSocket(user, hosts, tail)
	}
	defaultPort := "6379"
	if strings.HasSuffix(form, "-sentinel") {
		defaultPort = "26379"
	}
	addrs, err := splitHosts(hosts, defaultPort)
	if err != nil {
		return nil, err
	}
	r := &Redis{hosts: addrs}
	switch form {
	case "redis", "rediss":
		if len(addrs) > 1 {
			return nil, fmt.Errorf("a %s:// address has one host; several are redis-sentinel:// or redis-cluster://", form)
		}
		r.simple, err = redis.ParseURL(form + "://" + user + addrs[0] + tail)
	case "redis-sentinel", "rediss-sentinel":
		err = r.parseSentinel(strings.TrimSuffix(form, "-sentinel"), user, addrs, tail)
	case "redis-cluster", "rediss-cluster":
		err = r.parseCluster(strings.TrimSuffix(form, "-cluster"), user, addrs, tail)
	default:
		return nil, fmt.Errorf("not a Redis address: it starts with none of %s", redisForms)
	}
	if err != nil {
		return nil, scrub(err)
	}
	return r, nil
}

func parseSocket(user, host, tail string) (*Redis, error) {
	if host != "" || !strings.HasPrefix(tail, "/") {
		return nil, errors.New("not a Redis address: a socket's path begins with /, as unix:///run/redis/redis.sock")
	}
	o, err := redis.ParseURL("unix://" + user + tail)
	if err != nil {
		return nil, scrub(err)
	}
	return &Redis{simple: o}, nil
}

func (r *Redis) parseSentinel(scheme, user string, addrs []string, tail string) error {
	path, query, _ := strings.Cut(tail, "?")
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		// asynq's own addresses call it master.
		if name, ok := strings.CutPrefix(pair, "master="); ok {
			pair = "master_name=" + name
		}
		if pair != "" {
			kept = append(kept, pair)
		}
	}
	o, err := redis.ParseFailoverURL(withAddrs(scheme+"://"+user+addrs[0]+path, kept, addrs[1:]))
	if err != nil {
		return err
	}
	if o.MasterName == "" {
		return errors.New("redis: a sentinel address needs ?master_name=")
	}
	if o.TLSConfig != nil {
		o.TLSConfig.ServerName = "" // each host's own name, not the first sentinel's
	}
	r.failover = o
	return nil
}

func (r *Redis) parseCluster(scheme, user string, addrs []string, tail string) error {
	path, query, _ := strings.Cut(tail, "?")
	if db := strings.Trim(path, "/"); db != "" && db != "0" {
		return errors.New("redis: a cluster has only database 0")
	}
	var kept []string
	if query != "" {
		kept = strings.Split(query, "&")
	}
	o, err := redis.ParseClusterURL(withAddrs(scheme+"://"+user+addrs[0], kept, addrs[1:]))
	if err != nil {
		return err
	}
	if o.TLSConfig != nil {
		o.TLSConfig.ServerName = "" // each node's own name, not the first one's
	}
	r.cluster = o
	return nil
}

func withAddrs(base string, query, addrs []string) string {
	for _, a := range addrs {
		query = append(query, "addr="+url.QueryEscape(a))
	}
	return base + "?" + strings.Join(query, "&")
}

// splitHosts returns host:port for each of a comma-separated list.
func splitHosts(hosts, defaultPort string) ([]string, error) {
	var addrs []string
	for h := range strings.SplitSeq(hosts, ",") {
		if h == "" {
			return nil, errors.New("not a Redis address: a host is missing")
		}
		host, port := h, defaultPort
		if bare := strings.TrimSuffix(strings.TrimPrefix(h, "["), "]"); len(bare) == len(h)-2 {
			host = bare
		} else if i := strings.LastIndexByte(h, ':'); i >= 0 {
			var err error
			if host, port, err = net.SplitHostPort(h); err != nil || host == "" {
				return nil, errors.New("not a Redis address: a host is not host or host:port")
			}
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, errors.New("not a Redis address: a port is not a number from 1 to 65535 (is everything in the password percent-encoded?)")
		}
		addrs = append(addrs, net.JoinHostPort(host, port))
	}
	return addrs, nil
}

// scrub keeps net/url, which quotes what it could not read, from showing a password.
func scrub(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return errors.New("not a Redis address: it is no valid URL (is everything in the password percent-encoded?)")
	}
	return fmt.Errorf("not a Redis address: %s", strings.TrimPrefix(err.Error(), "redis: "))
}

// NewClient opens a pool of connections. Nothing is sent until it is used.
func (r *Redis) NewClient() redis.UniversalClient {
	switch {
	case r.failover != nil:
		return redis.NewFailoverClient(r.failover)
	case r.cluster != nil:
		return redis.NewClusterClient(r.cluster)
	default:
		return redis.NewClient(r.simple)
	}
}

// Hosts are the servers, or sentinels, that the address names, as host:port; none for a
// socket.
func (r *Redis) Hosts() []string { return slices.Clone(r.hosts) }

// TLS reports whether they are spoken to over TLS.
func (r *Redis) TLS() bool { return r.tlsConfig() != nil }

// String is the address without user, password and options.
func (r *Redis) String() string { return r.shown }
