// Command engine does what Flux's kustomize-controller does with the manifests
// of one commit, by the library that the controller itself does it with: apply
// on the server what drifted, remove what is no longer there, wait until
// kstatus calls all of it current. There is no cluster part of it: a test calls
// it once for each run that the controller would make.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/normalize"
	"github.com/fluxcd/pkg/ssa/utils"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// The names that the controller gives itself.
const (
	manager = "kustomize-controller"
	group   = "kustomize.toolkit.fluxcd.io"
)

type options struct {
	kubeconfig, inventory string
	timeout               time.Duration
}

// outcome is what the controller would write into its Kustomization.
type outcome struct {
	Changed map[string]string `json:"changed"` // object: created, configured, deleted
	Error   string            `json:"error,omitempty"`
}

func main() {
	var o options
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "the cluster")
	flag.StringVar(&o.inventory, "inventory", "", "the file that holds what the last run applied")
	flag.DurationVar(&o.timeout, "timeout", time.Minute, "how long to wait until all is current")
	flag.Parse()
	log.SetLogger(zap.New(zap.WriteTo(io.Discard)))
	if err := run(flag.Arg(0), o); err != nil {
		fmt.Fprintln(os.Stderr, "engine:", err)
		os.Exit(1)
	}
}

func run(command string, o options) error {
	input, err := utils.ReadObjects(os.Stdin)
	if err != nil {
		return fmt.Errorf("cannot read the manifests: %w", err)
	}
	switch command {
	case "reconcile":
		changed, err := reconcile(context.Background(), o, input)
		result := outcome{Changed: changed}
		if err != nil {
			result.Error = err.Error()
		}
		return json.NewEncoder(os.Stdout).Encode(result)
	case "status":
		return printStatus(input)
	default:
		return errors.New("usage: engine reconcile|status")
	}
}

// printStatus says for each object what kstatus makes of it, one word a line.
func printStatus(objects []*unstructured.Unstructured) error {
	for _, object := range objects {
		result, err := status.Compute(object)
		if err != nil {
			return fmt.Errorf("%s: %w", utils.FmtUnstructured(object), err)
		}
		fmt.Println(result.Status)
	}
	return nil
}

func reconcile(ctx context.Context, o options, objects []*unstructured.Unstructured) (map[string]string, error) {
	engine, err := connect(o.kubeconfig)
	if err != nil {
		return nil, err
	}
	engine.SetOwnerLabels(objects, "inns", "flux-system")
	if err := normalize.UnstructuredList(objects); err != nil {
		return nil, err
	}
	applied, err := engine.ApplyAllStaged(ctx, objects, ssa.DefaultApplyOptions())
	changed := map[string]string{}
	note := func(set *ssa.ChangeSet) {
		for _, entry := range set.Entries {
			if entry.Action != ssa.UnchangedAction {
				changed[entry.Subject] = entry.Action.String()
			}
		}
	}
	if err != nil {
		return changed, err
	}
	note(applied)
	old, err := readInventory(o.inventory)
	if err != nil {
		return changed, err
	}
	if err := writeInventory(o.inventory, objects); err != nil {
		return changed, err
	}
	pruned, err := engine.DeleteAll(ctx, stale(old, objects), ssa.DeleteOptions{
		PropagationPolicy: metav1.DeletePropagationBackground,
		Inclusions:        engine.GetOwnerLabels("inns", "flux-system"),
	})
	if err != nil {
		return changed, err
	}
	note(pruned)
	wait := ssa.WaitOptions{Interval: 200 * time.Millisecond, Timeout: o.timeout, FailFast: true}
	if err := engine.WaitForSetWithContext(ctx, applied.ToObjMetadataSet(), wait); err != nil {
		return changed, err
	}
	return changed, nil
}

func connect(kubeconfig string) (*ssa.ResourceManager, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 100, 200
	found, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	var mapper meta.RESTMapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(found))
	cluster, err := client.New(config, client.Options{Mapper: mapper})
	if err != nil {
		return nil, err
	}
	poller := polling.NewStatusPoller(cluster, mapper, polling.Options{})
	return ssa.NewResourceManager(cluster, poller, ssa.Owner{Field: manager, Group: group}), nil
}

func identity(object *unstructured.Unstructured) string { return utils.FmtUnstructured(object) }

// stale are the objects of the last run that are not in this one.
func stale(old, now []*unstructured.Unstructured) []*unstructured.Unstructured {
	kept := map[string]bool{}
	for _, object := range now {
		kept[identity(object)] = true
	}
	var gone []*unstructured.Unstructured
	for _, object := range old {
		if !kept[identity(object)] {
			gone = append(gone, object)
		}
	}
	return gone
}

func readInventory(path string) ([]*unstructured.Unstructured, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return utils.ReadObjects(bytes.NewReader(data))
}

func writeInventory(path string, objects []*unstructured.Unstructured) error {
	var names []*unstructured.Unstructured
	for _, object := range objects {
		name := &unstructured.Unstructured{}
		name.SetGroupVersionKind(object.GroupVersionKind())
		name.SetName(object.GetName())
		name.SetNamespace(object.GetNamespace())
		names = append(names, name)
	}
	text, err := utils.ObjectsToYAML(names)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o600)
}
