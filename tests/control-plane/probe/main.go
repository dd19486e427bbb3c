// Command probe is what the node level's own tests run in pods: a small server that says who it is
// and looks at the world from inside.
//
//	GET /                     the pod's host name
//	GET /env?name=N           an environment variable
//	GET /device?path=P        "character device MAJOR:MINOR", if P is one that can be opened
//	GET /fetch?url=U          the status and the body of another address, as seen from this pod
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"syscall"
	"time"
)

const accountFolder = "/var/run/secrets/kubernetes.io/serviceaccount/"

func main() {
	if len(os.Args) == 3 && os.Args[1] == "device" {
		report, err := device(os.Args[2])
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(report)
		return
	}
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		host, _ := os.Hostname()
		log.Printf("answering %s", r.RemoteAddr)
		fmt.Fprintln(w, host)
	})
	http.HandleFunc("GET /env", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, os.Getenv(r.URL.Query().Get("name")))
	})
	http.HandleFunc("GET /device", func(w http.ResponseWriter, r *http.Request) {
		report, err := device(r.URL.Query().Get("path"))
		answer(w, report, err)
	})
	http.HandleFunc("GET /fetch", func(w http.ResponseWriter, r *http.Request) {
		report, err := fetch(r.URL.Query().Get("url"))
		answer(w, report, err)
	})
	log.Fatal(http.ListenAndServe(":8080", nil))
}

func answer(w http.ResponseWriter, report string, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	fmt.Fprintln(w, report)
}

func device(path string) (string, error) {
	// Opened, not only looked at: the node's device cgroup refuses the open, never the look.
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer file.Close()
	var stat syscall.Stat_t
	if err := syscall.Fstat(int(file.Fd()), &stat); err != nil {
		return "", err
	}
	if stat.Mode&syscall.S_IFMT != syscall.S_IFCHR {
		return "", fmt.Errorf("%s is not a character device", path)
	}
	return fmt.Sprintf("character device %d:%d", stat.Rdev>>8&0xfff, stat.Rdev&0xff), nil
}

// fetch trusts the cluster's authority and shows the pod's own token, as a client in a pod would.
func fetch(url string) (string, error) {
	authorities := x509.NewCertPool()
	if pem, err := os.ReadFile(accountFolder + "ca.crt"); err == nil {
		authorities.AppendCertsFromPEM(pem)
	}
	client := http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authorities}, DisableKeepAlives: true},
	}
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	if token, err := os.ReadFile(accountFolder + "token"); err == nil && request.URL.Scheme == "https" {
		request.Header.Set("Authorization", "Bearer "+string(token))
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	return fmt.Sprintf("%d %s", response.StatusCode, body), err
}
