// Command controlplane runs a Kubernetes control plane in one process, for
// tests and demonstrations on a machine without a network or a node: etcd
// (on a unix socket below --data-dir), kube-apiserver (RBAC, on 127.0.0.1) and,
// unless --controllers is empty, the named loops of kube-controller-manager.
// It makes its own certificates, writes a kubeconfig for an administrator, and
// ends on SIGTERM, SIGINT or, with --exit-with-pid, when that process ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
	_ "time/tzdata"

	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kasapp "k8s.io/kubernetes/cmd/kube-apiserver/app"
	kcmapp "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

// What an operator's tests need: deletion through owner references, namespaces
// that empty themselves, and the objects every namespace is expected to have.
const defaultControllers = "garbage-collector-controller,namespace-controller,serviceaccount-controller," +
	"clusterrole-aggregation-controller,root-ca-certificate-publisher-controller"

type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

type options struct {
	dataDir, kubeconfig, controllers string
	port, exitWithPid                int
	noFsync, ephemeral               bool
	apiArgs, kcmArgs                 list
}

func parse() options {
	var o options
	flag.StringVar(&o.dataDir, "data-dir", "controlplane-data", "folder for etcd's data, certificates, sockets and the file `ready`")
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "where to write the administrator's kubeconfig (default DATA-DIR/admin.kubeconfig)")
	flag.StringVar(&o.controllers, "controllers", defaultControllers, "kube-controller-manager loops to run; empty runs none")
	flag.IntVar(&o.port, "port", 6443, "port on 127.0.0.1; 0 picks a free one")
	flag.IntVar(&o.exitWithPid, "exit-with-pid", 0, "end when the process with this `pid` ends, even if it is killed; 0 outlives it")
	flag.BoolVar(&o.noFsync, "unsafe-no-fsync", false, "etcd does not sync its log (tests on slow disks)")
	flag.BoolVar(&o.ephemeral, "ephemeral", false, "at the end remove what was written below --data-dir")
	flag.Var(&o.apiArgs, "apiserver-arg", "further kube-apiserver argument (repeatable)")
	flag.Var(&o.kcmArgs, "kcm-arg", "further kube-controller-manager argument (repeatable)")
	flag.Parse()
	return o
}

func main() {
	if err := run(parse(), time.Now()); err != nil {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
		os.Exit(1)
	}
}

func run(o options, start time.Time) (err error) {
	tuneCollector()
	if err := watchProcess(o.exitWithPid); err != nil {
		return err
	}
	d, err := openDataDir(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.leave(o.ephemeral)) }()
	port, release, err := reservePort(o.port)
	if err != nil {
		return err
	}
	defer release()
	p, err := ensurePKI(d.path("pki"))
	if err != nil {
		return err
	}
	if err := writeKubeconfig(d.kubeconfig, port, p); err != nil {
		return err
	}
	etcd, endpoint, err := startEtcd(d.root, d.sockets, o.noFsync)
	if err != nil {
		return err
	}
	// Close would wait seconds for the API server's connections to end; Stop writes what there is and closes the files.
	defer etcd.Server.Stop()
	fmt.Printf("controlplane: etcd ready after %d ms\n", time.Since(start).Milliseconds())

	// Both components apply the same process-wide logging setup.
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged
	api := kasapp.NewAPIServerCommand() // installs the handler of SIGTERM and SIGINT too
	api.SetArgs(append(apiServerArgs(endpoint, port, p), o.apiArgs...))
	ctx, cancel := context.WithCancel(api.Context())
	defer cancel()

	failed := make(chan error, 2)
	go func() { failed <- api.Execute() }()
	go func() {
		if !waitReady(ctx, port, p.ca) {
			return
		}
		if err := d.markReady(); err != nil {
			failed <- err
			return
		}
		fmt.Printf("controlplane: ready on https://127.0.0.1:%d after %d ms, kubeconfig %s\n",
			port, time.Since(start).Milliseconds(), d.kubeconfig)
		if err := runControllers(ctx, o, d.kubeconfig, p); err != nil {
			failed <- fmt.Errorf("controllers: %w", err)
		}
	}()
	select {
	case err = <-failed: // before anybody asked to stop
		if err == nil {
			err = errors.New("the API server ended by itself")
		}
	case <-ctx.Done(): // SIGTERM or SIGINT
		// The API server would wait a minute for clients that watch, of which our own controllers are some and do
		// not listen to the context. Requests under way get this long.
		select {
		case err = <-failed:
		case <-time.After(500 * time.Millisecond):
		}
	}
	return err
}

func apiServerArgs(etcd string, port int, p *pki) []string {
	return []string{
		"--etcd-servers=" + etcd,
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none", // EndpointSlices may not hold loopback addresses
		"--secure-port=" + strconv.Itoa(port),
		"--permit-port-sharing", // with the socket that reserves the port
		"--tls-cert-file=" + p.path("server.crt"),
		"--tls-private-key-file=" + p.path("server.key"),
		"--client-ca-file=" + p.path("ca.crt"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + p.path("sa.pub"),
		"--service-account-signing-key-file=" + p.path("sa.key"),
		"--service-cluster-ip-range=10.96.0.0/16",
		"--authorization-mode=RBAC",
		"--cert-dir=" + p.dir,
		"--profiling=false",
	}
}

func runControllers(ctx context.Context, o options, kubeconfig string, p *pki) error {
	if o.controllers == "" {
		return nil
	}
	kcm := kcmapp.NewControllerManagerCommand()
	kcm.SetArgs(append([]string{
		"--kubeconfig=" + kubeconfig,
		"--controllers=" + o.controllers,
		"--leader-elect=false",
		"--secure-port=0",
		"--service-account-private-key-file=" + p.path("sa.key"),
		"--root-ca-file=" + p.path("ca.crt"),
		"--use-service-account-credentials=false",
		"--profiling=false",
	}, o.kcmArgs...))
	return kcm.ExecuteContext(ctx)
}

// tuneCollector trades memory for CPU: at Go's default an API server that
// shares two cores with its clients spends a quarter of its time collecting.
// GOGC and GOMEMLIMIT in the environment go before.
func tuneCollector() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(1500 << 20)
	}
}

// dataDir is the folder that holds everything a run writes.
type dataDir struct{ root, sockets, kubeconfig string }

func openDataDir(o options) (*dataDir, error) {
	root, err := filepath.Abs(o.dataDir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	sockets, err := socketDir(root)
	if err != nil {
		return nil, err
	}
	d := &dataDir{root: root, sockets: sockets, kubeconfig: o.kubeconfig}
	if d.kubeconfig == "" {
		d.kubeconfig = d.path("admin.kubeconfig")
	}
	return d, os.RemoveAll(d.path("ready")) // of a run that was killed
}

func (d *dataDir) path(name string) string { return filepath.Join(d.root, name) }

// markReady writes the process id to the file `ready`, complete or not at all.
func (d *dataDir) markReady() error {
	return writeFile(d.path("ready"), []byte(strconv.Itoa(os.Getpid())+"\n"))
}

// leave takes away what must not outlive the process, and with ephemeral all
// else that it wrote. A folder that others wrote to as well stays.
func (d *dataDir) leave(ephemeral bool) error {
	gone := []string{d.path("ready"), filepath.Join(d.sockets, etcdSocket), filepath.Join(d.sockets, peerSocket)}
	if d.sockets != d.root {
		gone = append(gone, d.sockets)
	}
	if ephemeral {
		gone = append(gone, d.path("etcd"), d.path("pki"), d.kubeconfig)
	}
	var errs []error
	for _, path := range gone {
		errs = append(errs, os.RemoveAll(path))
	}
	if ephemeral {
		if err := os.Remove(d.root); err != nil && !errors.Is(err, syscall.ENOTEMPTY) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// writeFile replaces a file at once, so that who waits for it reads all of it.
func writeFile(path string, data []byte) error {
	next := path + ".next"
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}
