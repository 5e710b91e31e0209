package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// lines is a log that can be waited for.
type lines struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (l *lines) Write(text []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.Write(text)
}

func (l *lines) has(word string) bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return strings.Contains(l.text.String(), word)
}

// selfTest lets one end join the other on ports that are free: with the right token, and with others.
func selfTest() error {
	dir, err := os.MkdirTemp("", "cloud-peer")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := prepare(dir); err != nil {
		return err
	}
	events := &lines{}
	p, err := load(dir, events)
	if err != nil {
		return err
	}
	certificates, messages, failed, err := p.start("127.0.0.1:0", "127.0.0.1:0")
	if err != nil {
		return err
	}
	node := func(token string) *edge {
		return &edge{
			node: "board", token: token, heartbeat: time.Hour,
			certificates: "https://" + certificates.String(), messages: messages.String(),
			caFile:          filepath.Join(dir, "ca", "rootCA.crt"),
			certificateFile: filepath.Join(dir, "server.crt"),
			privateKeyFile:  filepath.Join(dir, "server.key"),
		}
	}
	hash := strings.SplitN(p.token, ".", 2)[0]
	refused := map[string]string{
		"no token":         "wrong format",
		"00" + p.token[2:]: "failed to validate CA certificate",
		hash + ".a.b.c":    "the token is not this cloud's",
	}
	for token, reason := range refused {
		if err := node(token).apply(); err == nil || !strings.Contains(err.Error(), reason) {
			return fmt.Errorf("the token %s gave %v, not %s", token, err, reason)
		}
	}
	stranger := node(p.token)
	if err := stranger.talk(func(string, string, ...interface{}) {}); err == nil {
		return errors.New("a node without a certificate was let in")
	}
	if err := node(p.token).apply(); err != nil {
		return err
	}
	// A second start finds the certificates of the first.
	again := node("no token")
	if err := again.apply(); err != nil {
		return err
	}
	go func() { failed <- again.talk(func(string, string, ...interface{}) {}) }()
	deadline := time.Now().Add(time.Minute)
	for !events.has(`keepalive: from "board"`) {
		select {
		case err := <-failed:
			return err
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no message arrived:\n%s", events.text.String())
		}
	}
	fmt.Println("ok: a node got its certificate, connected and sent a message; three wrong tokens and a stranger were refused")
	return nil
}
