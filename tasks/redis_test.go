package tasks

import (
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestParseRedis(t *testing.T) {
	r, err := ParseRedis("rediss://user:p%40ss@example.com/3?pool_size=7")
	if err != nil {
		t.Fatal(err)
	}
	if o := r.simple; o.Addr != "example.com:6379" || o.DB != 3 || o.Username != "user" || o.Password != "p@ss" ||
		o.PoolSize != 7 || o.TLSConfig == nil || o.TLSConfig.ServerName != "example.com" {
		t.Errorf("%+v", o)
	}
	if r.String() != "rediss://example.com/3" {
		t.Errorf("shown as %s", r)
	}
}

func TestParseRedisSentinel(t *testing.T) {
	r, err := ParseRedis("redis-sentinel://:spw@s1,s2:26380,[::1]:26381/2?master=mymaster&username=u&password=pw")
	if err != nil {
		t.Fatal(err)
	}
	o := r.failover
	if want := []string{"s1:26379", "s2:26380", "[::1]:26381"}; !slices.Equal(o.SentinelAddrs, want) {
		t.Errorf("sentinels %v", o.SentinelAddrs)
	}
	if o.MasterName != "mymaster" || o.DB != 2 || o.SentinelPassword != "spw" || o.Username != "u" || o.Password != "pw" || o.TLSConfig != nil {
		t.Errorf("%+v", o)
	}
	if _, ok := r.NewClient().(*redis.Client); !ok {
		t.Error("not a failover client")
	}
}

func TestParseRedisCluster(t *testing.T) {
	r, err := ParseRedis("rediss-cluster://u:pw@h1,h2:7001,h3/0?max_redirects=5")
	if err != nil {
		t.Fatal(err)
	}
	o := r.cluster
	if want := []string{"h1:6379", "h2:7001", "h3:6379"}; !slices.Equal(o.Addrs, want) {
		t.Errorf("nodes %v", o.Addrs)
	}
	if o.Username != "u" || o.Password != "pw" || o.MaxRedirects != 5 || o.TLSConfig == nil || o.TLSConfig.ServerName != "" {
		t.Errorf("%+v", o)
	}
	if r.String() != "rediss-cluster://h1,h2:7001,h3/0" {
		t.Errorf("shown as %s", r)
	}
}

func TestParseRedisRefusesWithoutShowingThePassword(t *testing.T) {
	for _, address := range []string{
		"", "localhost:6379", "http://user:hunter2@h", "redis://", "redis://user:hunter2@", "redis://:hunter2@h:99999",
		"redis://:hunter2@h/x", "redis://:hunter2@h/1/2", "redis://:hun/ter2@h", "redis://:hun?ter2@h", "redis://:hun#ter2@h",
		"redis://:hunter2%zz@h", "redis://:hun ter2@h", "redis://:hunter2@h1,h2", "redis://:hunter2@h?pool_sise=3",
		"redis://:hunter2@h?pool_size=many", "redis-sentinel://:hunter2@h1,h2", "redis-sentinel://:hunter2@h1,,h2?master=m",
		"redis-cluster://:hunter2@h1,h2/3", "redis-cluster://:hunter2@h1:port", "redis://h:hunter2", "redis://::1",
		"redis-cluster://:hunter2@h?x=y",
	} {
		_, err := ParseRedis(address)
		if err == nil {
			t.Errorf("%s was accepted", address)
			continue
		}
		if strings.Contains(err.Error(), "hun") || strings.Contains(err.Error(), "ter2") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func FuzzParseRedis(f *testing.F) {
	f.Add("redis://user:secret@h/1?pool_size=3")
	f.Add("redis-sentinel://s1,s2?master=m")
	f.Add("rediss-cluster://[::1]:7000,h2")
	f.Fuzz(func(t *testing.T, address string) {
		r, err := ParseRedis(address)
		if err != nil {
			return
		}
		if strings.Contains(r.String(), "@") {
			t.Errorf("%q is shown as %q", address, r)
		}
	})
}
