package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	genericapiserver "k8s.io/apiserver/pkg/server"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// devicePlugin stands in for a GPU vendor's plugin on a machine without a GPU. It speaks the real
// protocol to the real kubelet; only the device behind it is a harmless one.
type devicePlugin struct {
	pluginapi.UnimplementedDevicePluginServer
	devices []*pluginapi.Device
	host    string
	stop    <-chan struct{}
}

func newDevicePluginCommand() *cobra.Command {
	var folder, resource, host string
	var count int
	command := &cobra.Command{
		Use:   "gpu-device-plugin",
		Short: "offer stand-in GPUs to the kubelet",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return serveDevices(genericapiserver.SetupSignalContext(), folder, resource, host, count)
		},
	}
	flags := command.Flags()
	flags.StringVar(&folder, "plugin-dir", pluginapi.DevicePluginPath, "the kubelet's device plugin folder")
	flags.StringVar(&resource, "resource", "nvidia.com/gpu", "the extended resource to offer")
	flags.StringVar(&host, "host-device", "/dev/null", "the device node that containers get")
	flags.IntVar(&count, "devices", 1, "how many devices to offer")
	return command
}

func serveDevices(ctx context.Context, folder, resource, host string, count int) error {
	plugin := &devicePlugin{host: host, stop: ctx.Done()}
	for i := range count {
		plugin.devices = append(plugin.devices, &pluginapi.Device{
			ID: fmt.Sprintf("GPU-stand-in-%d", i), Health: pluginapi.Healthy,
		})
	}
	// A kubelet that starts removes every socket from the folder before it opens its own.
	if err := awaitKubelet(ctx, folder); err != nil {
		return err
	}
	socket := filepath.Join(folder, "gpu-stand-in.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	pluginapi.RegisterDevicePluginServer(server, plugin)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	defer server.Stop()
	if err := register(ctx, folder, filepath.Base(socket), resource); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

func kubeletSocket(folder string) string {
	return filepath.Join(folder, filepath.Base(pluginapi.KubeletSocket))
}

func awaitKubelet(ctx context.Context, folder string) error {
	for {
		if _, err := os.Stat(kubeletSocket(folder)); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func register(ctx context.Context, folder, endpoint, resource string) error {
	// The socket's file is there a little before anyone answers; gRPC waits within this bound.
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	connection, err := grpc.NewClient("unix://"+kubeletSocket(folder), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	_, err = pluginapi.NewRegistrationClient(connection).Register(ctx, &pluginapi.RegisterRequest{
		Version: pluginapi.Version, Endpoint: endpoint, ResourceName: resource,
	}, grpc.WaitForReady(true))
	return err
}

func (p *devicePlugin) GetDevicePluginOptions(context.Context, *pluginapi.Empty) (*pluginapi.DevicePluginOptions, error) {
	return &pluginapi.DevicePluginOptions{}, nil
}

func (p *devicePlugin) ListAndWatch(_ *pluginapi.Empty, stream pluginapi.DevicePlugin_ListAndWatchServer) error {
	if err := stream.Send(&pluginapi.ListAndWatchResponse{Devices: p.devices}); err != nil {
		return err
	}
	// The stream's end tells the kubelet that the devices are gone, so it stays open until then.
	select {
	case <-p.stop:
	case <-stream.Context().Done():
	}
	return nil
}

func (p *devicePlugin) Allocate(_ context.Context, request *pluginapi.AllocateRequest) (*pluginapi.AllocateResponse, error) {
	response := &pluginapi.AllocateResponse{}
	for _, container := range request.ContainerRequests {
		answer := &pluginapi.ContainerAllocateResponse{Envs: map[string]string{}}
		visible := ""
		for i, id := range container.DevicesIds {
			if i > 0 {
				visible += ","
			}
			visible += id
			answer.Devices = append(answer.Devices, &pluginapi.DeviceSpec{
				ContainerPath: fmt.Sprintf("/dev/nvidia%d", i), HostPath: p.host, Permissions: "rw",
			})
		}
		// The name by which NVIDIA's own plugin and runtime tell a container its devices.
		answer.Envs["NVIDIA_VISIBLE_DEVICES"] = visible
		response.ContainerResponses = append(response.ContainerResponses, answer)
	}
	return response, nil
}
