// Command kstatus says of each object on its standard input what kstatus, by
// which Flux judges whether something is ready, makes of it: one word a line.
package main

import (
	"fmt"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/ssa/utils"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "kstatus:", err)
		os.Exit(1)
	}
}

func run() error {
	objects, err := utils.ReadObjects(os.Stdin)
	if err != nil {
		return fmt.Errorf("cannot read the manifests: %w", err)
	}
	for _, object := range objects {
		result, err := status.Compute(object)
		if err != nil {
			return fmt.Errorf("%s: %w", utils.FmtUnstructured(object), err)
		}
		fmt.Println(result.Status)
	}
	return nil
}
