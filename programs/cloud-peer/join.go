package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// edge is what a node has in its edgecore.yaml, and what it got from the cloud.
type edge struct {
	node, network, docker, shim, database   string
	certificates, messages, token           string
	caFile, certificateFile, privateKeyFile string
	heartbeat                               time.Duration

	ca   *x509.CertPool
	pair tls.Certificate
}

// readEdge takes what it needs from an edgecore.yaml: one key a line, as Slipway's template has it.
func readEdge(file string) (*edge, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	missing := ""
	value := func(key string) string {
		line := regexp.MustCompile(`(?m)^ *` + key + `: *"?([^"#\n]*?)"? *$`).FindSubmatch(text)
		if line == nil {
			missing = key
			return ""
		}
		return string(line[1])
	}
	e := &edge{
		node: value("hostnameOverride"), network: value("customInterfaceName"), docker: value("dockerAddress"),
		shim: value("remoteRuntimeEndpoint"), database: value("dataSource"),
		certificates: value("httpServer"), messages: value("server"), token: value("token"),
		caFile: value("tlsCaFile"), certificateFile: value("tlsCertFile"), privateKeyFile: value("tlsPrivateKeyFile"),
	}
	if e.heartbeat, err = time.ParseDuration(value("heartbeat") + "s"); err != nil {
		return nil, err
	}
	if missing != "" {
		return nil, fmt.Errorf("%s has no %s", file, missing)
	}
	return e, nil
}

// klog writes a line as KubeEdge's logs have them.
func klog(level, format string, words ...interface{}) {
	now := time.Now().Format("0102 15:04:05.000000")
	fmt.Fprintf(os.Stderr, "%s%s %7d join.go:1] %s\n", level, now, os.Getpid(), fmt.Sprintf(format, words...))
}

// joinForEver does as edgecore does, in its order and with its words where they were read; what edgecore ends at ends it.
func joinForEver(file string) error {
	klog("I", "cloud-peer stands in for edgecore: it runs no pods")
	e, err := readEdge(file)
	if err != nil {
		return err
	}
	if err := e.hasAddress(); err != nil {
		klog("E", "Failed to get IP address by custom interface %s, err: %v", e.network, err)
		os.Exit(1)
	}
	if err := e.findDocker(); err != nil {
		klog("E", "init new edged error, %v", err)
		os.Exit(1)
	}
	// SQLite's first sixteen bytes.
	if err := os.WriteFile(e.database, []byte("SQLite format 3\x00"), 0o600); err != nil {
		klog("F", "Failed to create database: %v", err)
		os.Exit(1)
	}
	if err := e.apply(); err != nil {
		klog("F", "Error: %v", err)
		os.Exit(1)
	}
	for {
		klog("E", "connection error, try again: %v", e.talk(klog))
		time.Sleep(e.heartbeat)
	}
}

func (e *edge) hasAddress() error {
	network, err := net.InterfaceByName(e.network)
	if err != nil {
		return err
	}
	addresses, err := network.Addrs()
	if err == nil && len(addresses) == 0 {
		err = errors.New("unable to select an IP from it")
	}
	return err
}

// findDocker asks dockerd who it is, and opens the socket that edgecore's dockershim has.
func (e *edge) findDocker() error {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", strings.TrimPrefix(e.docker, "unix://"))
	}
	client := http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: time.Minute}
	response, err := client.Get("http://docker/version")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	info, err := io.ReadAll(io.LimitReader(response.Body, requestLimit))
	if err != nil {
		return err
	}
	klog("I", "Docker Info: %s", bytes.TrimSpace(info))
	path := strings.TrimPrefix(e.shim, "unix://")
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	_, err = net.Listen("unix", path)
	return err
}

// apply gets the authority's certificate, sees that it is the token's, and gets one of this node's own; those of an
// earlier time are used again.
func (e *edge) apply() error {
	if pair, err := tls.LoadX509KeyPair(e.certificateFile, e.privateKeyFile); err == nil {
		e.pair = pair
		text, err := os.ReadFile(e.caFile)
		e.ca = x509.NewCertPool()
		e.ca.AppendCertsFromPEM(text)
		return err
	}
	trustAnybody := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	ca, err := fetch(trustAnybody, e.certificates+"/ca.crt", nil, nil)
	if err != nil {
		return fmt.Errorf("failed to get CA certificate, err: %v", err)
	}
	parts := strings.SplitN(e.token, ".", 2)
	if strings.Count(e.token, ".") != 3 {
		return errors.New("token credentials are in the wrong format")
	}
	if hash := sha256.Sum256(ca); hex.EncodeToString(hash[:]) != parts[0] {
		return fmt.Errorf("failed to validate CA certificate. tokenCAhash: %s, CAhash: %x", parts[0], hash)
	}
	authority, err := x509.ParseCertificate(ca)
	if err != nil {
		return err
	}
	e.ca = x509.NewCertPool()
	e.ca.AddCert(authority)
	if err := e.certify(parts[1]); err != nil {
		return fmt.Errorf("failed to get edge certificate from the cloudcore, error: %v", err)
	}
	return e.keep(ca)
}

func (e *edge) certify(bearer string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	subject := pkix.Name{Organization: []string{"kubeEdge"}, CommonName: "kubeedge.io"}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, key)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: e.ca}}}
	header := http.Header{"Authorization": {"Bearer " + bearer}, "Nodename": {e.node}}
	der, err := fetch(client, e.certificates+"/edge.crt", header, request)
	if err != nil {
		return err
	}
	e.pair = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return nil
}

// keep writes the certificates where the next start finds them.
func (e *edge) keep(ca []byte) error {
	key, err := x509.MarshalECPrivateKey(e.pair.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		return err
	}
	files := []struct {
		path, kind string
		der        []byte
	}{
		{e.caFile, "CERTIFICATE", ca},
		{e.certificateFile, "CERTIFICATE", e.pair.Certificate[0]},
		{e.privateKeyFile, "EC PRIVATE KEY", key},
	}
	for _, file := range files {
		if err := os.MkdirAll(filepath.Dir(file.path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file.path, pem.EncodeToMemory(&pem.Block{Type: file.kind, Bytes: file.der}), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// fetch sends a body with GET, as edgecore does.
func fetch(client *http.Client, address string, header http.Header, body []byte) ([]byte, error) {
	client.Timeout = time.Minute
	request, err := http.NewRequest(http.MethodGet, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		request.Header[name] = values
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, requestLimit))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, bytes.TrimSpace(answer))
	}
	return answer, err
}

// talk opens the websocket and sends heartbeats until that fails.
func (e *edge) talk(log func(string, string, ...interface{})) error {
	server := &url.URL{Host: e.messages}
	connection, err := tls.Dial("tcp", e.messages, &tls.Config{
		RootCAs: e.ca, Certificates: []tls.Certificate{e.pair}, ServerName: server.Hostname(),
	})
	if err != nil {
		return err
	}
	defer connection.Close()
	header := http.Header{"node_id": {e.node}}
	if _, err := open(connection, e.messages, "/e632aba927ea4ac2b575ec1603d56f10/"+e.node+"/events", header); err != nil {
		return err
	}
	log("I", "Websocket connect to cloud access successful")
	for {
		if err := writeFrame(connection, binaryFrame, []byte("node keepalive ping"), true); err != nil {
			return err
		}
		time.Sleep(e.heartbeat)
	}
}
