package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Where edgecore.yaml looks for the two, unless the settings say otherwise.
const (
	certificatesAt = "127.0.0.1:10002"
	messagesAt     = "127.0.0.1:10000"
)

// An edge node's certificate request is a few hundred bytes.
const requestLimit = 1 << 16

// peer is the cloud's side: an authority of its own, the token that nodes join with, and what they did so far.
type peer struct {
	key   *ecdsa.PrivateKey
	ca    *x509.Certificate
	token string

	mutex  sync.Mutex
	events io.Writer
}

// newPeer makes an authority and a token.
func newPeer(events io.Writer) (*peer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "cloud-peer"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().AddDate(1, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	// cloudcore's token is the hash of its authority's certificate, and a JSON web token that only it can read.
	secret := make([]byte, 16)
	if _, err := rand.Read(secret); err != nil {
		return nil, err
	}
	hash := sha256.Sum256(der)
	token := hex.EncodeToString(hash[:]) + ".peer.peer." + hex.EncodeToString(secret)
	return &peer{key: key, ca: ca, token: token, events: events}, nil
}

// save keeps a peer in a folder, for `serve`.
func (p *peer) save(dir string) error {
	key, err := x509.MarshalECPrivateKey(p.key)
	if err != nil {
		return err
	}
	for name, bytes := range map[string][]byte{"key": key, "ca.der": p.ca.Raw, "token": []byte(p.token + "\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), bytes, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// load takes up what save has kept.
func load(dir string, events io.Writer) (*peer, error) {
	var kept [3][]byte
	for i, name := range []string{"key", "ca.der", "token"} {
		bytes, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("%w (cloud-peer prepare %s makes it)", err, dir)
		}
		kept[i] = bytes
	}
	key, err := x509.ParseECPrivateKey(kept[0])
	if err != nil {
		return nil, err
	}
	ca, err := x509.ParseCertificate(kept[1])
	if err != nil {
		return nil, err
	}
	return &peer{key: key, ca: ca, token: strings.TrimSpace(string(kept[2])), events: events}, nil
}

// say writes a line of what happened, for whoever watches.
func (p *peer) say(format string, words ...interface{}) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	fmt.Fprintf(p.events, format+"\n", words...)
}

// issue signs a certificate for the public key, for servers or clients.
func (p *peer) issue(subject pkix.Name, public interface{}, usage x509.ExtKeyUsage) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{usage},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames:     []string{"localhost"},
	}
	return x509.CreateCertificate(rand.Reader, template, p.ca, public, p.key)
}

// listen opens a TLS port with a certificate of this authority's.
func (p *peer) listen(address string, clients tls.ClientAuthType) (net.Listener, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := p.issue(pkix.Name{CommonName: "cloud-peer"}, key.Public(), x509.ExtKeyUsageServerAuth)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(p.ca)
	return tls.Listen("tcp", address, &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		ClientAuth:   clients,
		ClientCAs:    pool,
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"http/1.1"},
	})
}

// certificates is what cloudcore has at port 10002.
func (p *peer) certificates() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/ca.crt", func(w http.ResponseWriter, r *http.Request) {
		p.say("authority: its certificate was asked for")
		w.Write(p.ca.Raw)
	})
	mux.HandleFunc("/edge.crt", func(w http.ResponseWriter, r *http.Request) {
		node := r.Header.Get("NodeName")
		der, status, err := p.edgeCertificate(r)
		if err != nil {
			p.say("refused: a certificate for %q: %v", node, err)
			http.Error(w, err.Error(), status)
			return
		}
		p.say("certificate: for %q", node)
		w.Write(der)
	})
	return mux
}

func (p *peer) edgeCertificate(r *http.Request) ([]byte, int, error) {
	bearer := strings.SplitN(p.token, ".", 2)[1]
	if r.Header.Get("Authorization") != "Bearer "+bearer {
		return nil, http.StatusUnauthorized, errors.New("the token is not this cloud's")
	}
	der, err := io.ReadAll(io.LimitReader(r.Body, requestLimit))
	if err != nil {
		return nil, http.StatusBadRequest, err
	}
	request, err := x509.ParseCertificateRequest(der)
	if err == nil {
		err = request.CheckSignature()
	}
	if err != nil {
		return nil, http.StatusBadRequest, fmt.Errorf("the request for a certificate is wrong: %w", err)
	}
	signed, err := p.issue(request.Subject, request.PublicKey, x509.ExtKeyUsageClientAuth)
	return signed, http.StatusInternalServerError, err
}

// messages is what cloudcore has at port 10000: a websocket at /PROJECT/NODE/events.
func (p *peer) messages() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
		if len(parts) != 3 || parts[2] != "events" {
			p.say("refused: %s is not /PROJECT/NODE/events", r.URL.Path)
			http.NotFound(w, r)
			return
		}
		connection, reader, err := accept(w, r)
		if err != nil {
			p.say("refused: %q: %v", parts[1], err)
			return
		}
		defer connection.Close()
		p.say("connected: %q, with the header node_id %q", parts[1], r.Header.Get("node_id"))
		p.say("disconnected: %q: %v", parts[1], p.receive(connection, reader, parts[1]))
	})
}

// receive tells of every message until there are no more.
func (p *peer) receive(connection net.Conn, reader *bufio.Reader, node string) error {
	for {
		message, err := readMessage(reader, connection)
		if err != nil {
			return err
		}
		kind := "message"
		if strings.Contains(string(message), "keepalive") {
			kind = "keepalive"
		}
		p.say("%s: from %q, %d bytes", kind, node, len(message))
	}
}

// start opens both ports and answers until the returned error arrives.
func (p *peer) start(certificatesAt, messagesAt string) (certificates, messages net.Addr, failed chan error, err error) {
	first, err := p.listen(certificatesAt, tls.RequestClientCert)
	if err != nil {
		return nil, nil, nil, err
	}
	second, err := p.listen(messagesAt, tls.RequireAndVerifyClientCert)
	if err != nil {
		return nil, nil, nil, err
	}
	failed = make(chan error, 2)
	go func() { failed <- http.Serve(first, p.certificates()) }()
	go func() { failed <- http.Serve(second, p.messages()) }()
	return first.Addr(), second.Addr(), failed, nil
}

// prepare makes the peer that serve will be: what nodes join with is in DIR/token.
func prepare(dir string) error {
	p, err := newPeer(io.Discard)
	if err != nil {
		return err
	}
	return p.save(dir)
}

// serveForEver tells what happens in DIR/events.
func serveForEver(dir string) error {
	events, err := os.Create(filepath.Join(dir, "events"))
	if err != nil {
		return err
	}
	p, err := load(dir, events)
	if err != nil {
		return err
	}
	_, _, failed, err := p.start(certificatesAt, messagesAt)
	if err != nil {
		return err
	}
	return <-failed
}
