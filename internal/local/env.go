package local

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// localNames are reached without a proxy.
const localNames = "localhost,127.0.0.1,::1"

// xdsVariable names the file that the gRPC library of a program starts with (gRFC A27).
const xdsVariable = "GRPC_XDS_BOOTSTRAP"

// environment returns the environment of an instance's application: what this program has, what makes HTTP libraries
// send requests to the proxy or, where there is none, gRPC ask the control plane as the bootstrap says, the application's
// ports, its local addresses of services, and what its Mesh file says, in this order; the last one wins.
func environment(base []string, bin, bootstrap string, i *Instance) []string {
	env := slices.Clone(base)
	set := func(name, value string) { env = append(env, name+"="+value) }
	set("PATH", searchPath(base, bin))
	set("LATEEN_WORKLOAD", i.Name)
	if i.Workload.Type == mesh.Proxyless {
		set(xdsVariable, bootstrap)
	} else {
		setProxy(base, i, set)
	}
	variables := i.variables()
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		set(name, variables[name])
	}
	for _, name := range slices.Sorted(maps.Keys(i.Workload.Env)) {
		value, _, _ := expand(i.Workload.Env[name], variables)
		set(name, value)
	}
	return env
}

// setProxy sets what makes libraries send requests to the instance's proxy.
func setProxy(base []string, i *Instance, set func(name, value string)) {
	host, port := i.Address.String(), strconv.Itoa(i.Outbound)
	proxy := "http://" + net.JoinHostPort(host, port)
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"} {
		set(name, proxy)
	}
	direct := localNames
	if len(i.Workload.Upstreams) > 0 {
		direct += "," + host
	}
	set("NO_PROXY", direct)
	set("no_proxy", direct)
	set("NODE_USE_ENV_PROXY", "1")
	set("JAVA_TOOL_OPTIONS", strings.TrimSpace(lookup(base, "JAVA_TOOL_OPTIONS")+" "+javaOptions(host, port)))
}

// javaOptions is all that a Java program obeys.
func javaOptions(host, port string) string {
	return fmt.Sprintf("-Dhttp.proxyHost=%s -Dhttp.proxyPort=%s -Dhttps.proxyHost=%s -Dhttps.proxyPort=%s", host, port, host, port)
}

// searchPath returns the folders of PATH, after the one where this program is found as `lateen`.
func searchPath(base []string, bin string) string {
	if path := lookup(base, "PATH"); path != "" {
		return bin + string(filepath.ListSeparator) + path
	}
	return bin
}

func lookup(env []string, name string) string {
	for _, pair := range slices.Backward(env) {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}

// findProgram returns the path of a program as a shell in dir would find it.
func findProgram(name, dir, path string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, runnable(name)
	}
	for _, folder := range filepath.SplitList(path) {
		if found := filepath.Join(folder, name); filepath.IsAbs(folder) && runnable(found) == nil {
			return found, nil
		}
	}
	return "", fmt.Errorf("there is no program %s on PATH", name)
}

func runnable(path string) error {
	file, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no program %s", path)
	case err != nil:
		return err
	case !file.Mode().IsRegular() || file.Mode()&0o111 == 0:
		return fmt.Errorf("%s is not a program", path)
	}
	return nil
}
