// Command kube is every Kubernetes program that the testbed runs, in one binary: the programs
// share most of their code, so one link costs a fifth of the disk and the build time of five.
//
// The first argument names the program; a link named after a program works as well, so that
// `kubectl` on the PATH is what people expect.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

var programs = map[string]func() *cobra.Command{
	"apiserver":          apiserver.NewAPIServerCommand,
	"controller-manager": controllermanager.NewControllerManagerCommand,
	"scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kube-proxy":         proxy.NewProxyCommand,
	"kubelet":            func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
	"kubectl":            kubectl.NewDefaultKubectlCommand,
	"gpu-device-plugin":  newDevicePluginCommand,
}

func main() {
	name := filepath.Base(os.Args[0])
	if _, known := programs[name]; !known {
		if len(os.Args) < 2 {
			fail("usage: kube PROGRAM [ARGUMENT...]")
		}
		name = os.Args[1]
		// Cobra and klog read os.Args themselves; drop our own word before they look.
		os.Args = append([]string{name}, os.Args[2:]...)
	}
	program, known := programs[name]
	if !known {
		fail("kube: no program named " + name)
	}
	if name == "kubectl" {
		// kubectl prints its own errors; cli.Run would print them a second time.
		if err := cli.RunNoErrOutput(program()); err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(cli.Run(program()))
}

func fail(message string) {
	fmt.Fprintln(os.Stderr, message)
	os.Exit(2)
}
