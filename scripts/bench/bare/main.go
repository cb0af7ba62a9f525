// The least that a client can do: sends every object of a List as a server-side apply, some at once, and nothing else.
//
//	bare -kubeconfig FILE -objects FILE [-concurrency 8] [-dry-runs 0]
//
// The kubeconfig is what `kubectl config view --raw --minify -o json` prints.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
)

type kubeconfig struct {
	Clusters []struct {
		Cluster struct {
			Server string
			CA     []byte `json:"certificate-authority-data"`
		}
	}
	Users []struct {
		User struct {
			Certificate []byte `json:"client-certificate-data"`
			Key         []byte `json:"client-key-data"`
		}
	}
}

type identity struct {
	APIVersion string `json:"apiVersion"`
	Kind       string
	Metadata   struct{ Name, Namespace string }
}

// The kinds that are measured.
var plurals = map[string]string{
	"ConfigMap": "configmaps", "Namespace": "namespaces", "NetworkPolicy": "networkpolicies", "Service": "services",
	"ServiceAccount": "serviceaccounts",
}

type request struct {
	url  string
	body []byte
}

func main() {
	config := flag.String("kubeconfig", "", "kubeconfig as JSON")
	objects := flag.String("objects", "", "a List as JSON")
	concurrency := flag.Int("concurrency", 8, "requests under way at once")
	dryRuns := flag.Int("dry-runs", 0, "how often everything is sent as a dry run before")
	flag.Parse()

	client, server, err := connect(*config)
	stop(err)
	requests, err := read(*objects, server)
	stop(err)
	for range *dryRuns {
		stop(send(client, requests, *concurrency, "&dryRun=All"))
	}
	stop(send(client, requests, *concurrency, ""))
}

func connect(file string) (*http.Client, string, error) {
	var config kubeconfig
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, "", err
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, "", err
	}
	if len(config.Clusters) != 1 || len(config.Users) != 1 {
		return nil, "", fmt.Errorf("%s: want one cluster and one user", file)
	}
	cluster, user := config.Clusters[0].Cluster, config.Users[0].User
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cluster.CA)
	certificate, err := tls.X509KeyPair(user.Certificate, user.Key)
	if err != nil {
		return nil, "", err
	}
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}},
		ForceAttemptHTTP2: true,
	}
	return &http.Client{Transport: transport}, cluster.Server, nil
}

func read(file, server string) ([]request, error) {
	var list struct{ Items []json.RawMessage }
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, err
	}
	requests := make([]request, 0, len(list.Items))
	for _, body := range list.Items {
		var object identity
		if err := json.Unmarshal(body, &object); err != nil {
			return nil, err
		}
		plural, known := plurals[object.Kind]
		if !known {
			return nil, fmt.Errorf("%s: unknown kind %s", file, object.Kind)
		}
		path := "/api/" + object.APIVersion
		if strings.Contains(object.APIVersion, "/") {
			path = "/apis/" + object.APIVersion
		}
		if object.Metadata.Namespace != "" {
			path += "/namespaces/" + object.Metadata.Namespace
		}
		query := "?fieldManager=hdeploy&fieldValidation=Strict&force=false"
		requests = append(requests, request{server + path + "/" + plural + "/" + object.Metadata.Name + query, body})
	}
	return requests, nil
}

func send(client *http.Client, requests []request, concurrency int, query string) error {
	waiting := make(chan request)
	failures := make(chan error, len(requests))
	var workers sync.WaitGroup
	for range concurrency {
		workers.Go(func() {
			for next := range waiting {
				if err := patch(client, next.url+query, next.body); err != nil {
					failures <- err
				}
			}
		})
	}
	for _, next := range requests {
		waiting <- next
	}
	close(waiting)
	workers.Wait()
	select {
	case err := <-failures:
		return err
	default:
		return nil
	}
}

func patch(client *http.Client, url string, body []byte) error {
	request, err := http.NewRequest(http.MethodPatch, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/apply-patch+yaml")
	request.Header.Set("Accept", "application/json")
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= 300 {
		err = fmt.Errorf("%s: %s: %s", url, answer.Status, text)
	}
	return err
}

func stop(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		os.Exit(1)
	}
}
