// All of Kubernetes' server programs that the sandbox runs, in one executable, so that what they share is compiled and kept once.
//
//	kubernetes COMPONENT [FLAGS]
//
// Beside the components it knows `remove-pods SOCKET`, which empties a container runtime through the CRI, the way the kubelet does
// it: only so does the runtime take the pods' networks and iptables rules away as well.
package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

var components = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllers.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kube-proxy":              proxy.NewProxyCommand,
	"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
}

func main() {
	if len(os.Args) < 2 {
		fail("usage: kubernetes COMPONENT [FLAGS]")
	}
	name := os.Args[1]
	if name == "remove-pods" && len(os.Args) == 3 {
		if err := removePods(os.Args[2]); err != nil {
			fail(err.Error())
		}
		return
	}
	command, known := components[name]
	if !known {
		fail("there is no component " + name)
	}
	os.Args = os.Args[1:]
	os.Exit(cli.Run(command()))
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(2)
}

// removePods stops and removes every pod of the runtime that listens on the socket, several at a time.
func removePods(socket string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	runtime := cri.NewRuntimeServiceClient(connection)
	list, err := runtime.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		return err
	}
	var (
		wait   sync.WaitGroup
		lock   sync.Mutex
		first  error
		places = make(chan struct{}, 8)
	)
	for _, pod := range list.Items {
		wait.Add(1)
		go func(id string) {
			defer wait.Done()
			places <- struct{}{}
			defer func() { <-places }()
			_, err := runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: id})
			if err == nil {
				_, err = runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: id})
			}
			lock.Lock()
			defer lock.Unlock()
			if first == nil {
				first = err
			}
		}(pod.Id)
	}
	wait.Wait()
	return first
}
