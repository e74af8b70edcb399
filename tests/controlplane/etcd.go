package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

const (
	etcdSocket = "etcd.sock"
	peerSocket = "peer.sock"
	// What fits into sockaddr_un with its closing zero: unix(7).
	maxSocketPath = 107
)

// socketDir returns where the sockets go: into the data directory, or where its
// path is too long for a socket's into a temporary one.
func socketDir(dir string) (string, error) {
	if len(filepath.Join(dir, etcdSocket)) <= maxSocketPath {
		return dir, nil
	}
	return os.MkdirTemp("", "controlplane-")
}

// startEtcd starts the one member and returns the endpoint for the API server.
func startEtcd(dir, sockets string, noFsync bool) (*embed.Etcd, string, error) {
	c := embed.NewConfig()
	c.Name = "default"
	c.Dir = filepath.Join(dir, "etcd")
	c.LogLevel = "warn"
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	c.UnsafeNoFsync = noFsync
	c.AutoCompactionMode, c.AutoCompactionRetention = "periodic", "5m"
	c.QuotaBackendBytes = 4 << 30
	client := url.URL{Scheme: "unix", Path: filepath.Join(sockets, etcdSocket)}
	peer := url.URL{Scheme: "unix", Path: filepath.Join(sockets, peerSocket)}
	for _, u := range []url.URL{client, peer} { // left behind by a killed process
		if err := os.Remove(u.Path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, "", err
		}
	}
	// The advertised defaults (http://localhost:2379 and :2380, which must be
	// host:port) are never dialled by a single member; both listeners are
	// unix sockets.
	c.ListenClientUrls, c.ListenPeerUrls = []url.URL{client}, []url.URL{peer}
	e, err := embed.StartEtcd(c)
	if err != nil {
		return nil, "", fmt.Errorf("etcd: %w", err)
	}
	select {
	case <-e.Server.ReadyNotify():
		return e, client.String(), nil
	case err := <-e.Err():
		return nil, "", fmt.Errorf("etcd: %w", err)
	case <-time.After(time.Minute):
		e.Close()
		return nil, "", errors.New("etcd: not ready within a minute")
	}
}

// waitReady returns true once the API server says that it is ready, and false
// when ctx ends before.
func waitReady(ctx context.Context, port int, ca []byte) bool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Timeout: time.Second, Transport: transport}
	for {
		if r, err := client.Get(fmt.Sprintf("https://127.0.0.1:%d/readyz", port)); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return true
			}
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
}
