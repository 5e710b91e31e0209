package main

import (
	"bufio"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// The parts of RFC 6455 that two friendly ends need: no extensions, no fragments on the way out.

const (
	continuation = 0x0
	binaryFrame  = 0x2
	closeFrame   = 0x8
	pingFrame    = 0x9
	pongFrame    = 0xA
	final        = 0x80
	masked       = 0x80
)

// No message of a node that joins is nearly as long.
const messageLimit = 1 << 24

func acceptKey(key string) string {
	hash := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(hash[:])
}

// accept answers the request for a websocket, and takes the connection over.
func accept(w http.ResponseWriter, r *http.Request) (net.Conn, *bufio.Reader, error) {
	key := r.Header.Get("Sec-WebSocket-Key")
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || key == "" {
		http.Error(w, "a websocket is wanted", http.StatusBadRequest)
		return nil, nil, errors.New("it asked for no websocket")
	}
	connection, both, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return nil, nil, err
	}
	_, err = fmt.Fprintf(connection, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: %s\r\n\r\n", acceptKey(key))
	if err != nil {
		connection.Close()
		return nil, nil, err
	}
	return connection, both.Reader, nil
}

// open asks for a websocket on a connection that is there.
func open(connection net.Conn, host, path string, header http.Header) (*bufio.Reader, error) {
	nonce := make([]byte, 16)
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	key := base64.StdEncoding.EncodeToString(nonce)
	request, err := http.NewRequest(http.MethodGet, "https://"+host+path, nil)
	if err != nil {
		return nil, err
	}
	request.Header = header
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set("Upgrade", "websocket")
	request.Header.Set("Sec-WebSocket-Version", "13")
	request.Header.Set("Sec-WebSocket-Key", key)
	if err := request.Write(connection); err != nil {
		return nil, err
	}
	reader := bufio.NewReader(connection)
	response, err := http.ReadResponse(reader, request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusSwitchingProtocols || response.Header.Get("Sec-WebSocket-Accept") != acceptKey(key) {
		return nil, fmt.Errorf("no websocket: %s", response.Status)
	}
	return reader, nil
}

// readMessage gives the next whole message; pings are answered.
func readMessage(reader *bufio.Reader, writer io.Writer) ([]byte, error) {
	var message []byte
	for {
		first, payload, err := readFrame(reader)
		if err != nil {
			return nil, err
		}
		switch first &^ final {
		case closeFrame:
			return nil, io.EOF
		case pingFrame:
			if err := writeFrame(writer, pongFrame, payload, false); err != nil {
				return nil, err
			}
			continue
		case pongFrame:
			continue
		}
		if len(message)+len(payload) > messageLimit {
			return nil, errors.New("a message is too long")
		}
		message = append(message, payload...)
		if first&final != 0 {
			return message, nil
		}
	}
}

func readFrame(reader *bufio.Reader) (byte, []byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(reader, head[:]); err != nil {
		return 0, nil, err
	}
	length := uint64(head[1] &^ masked)
	switch length {
	case 126:
		var short uint16
		if err := binary.Read(reader, binary.BigEndian, &short); err != nil {
			return 0, nil, err
		}
		length = uint64(short)
	case 127:
		if err := binary.Read(reader, binary.BigEndian, &length); err != nil {
			return 0, nil, err
		}
	}
	if length > messageLimit {
		return 0, nil, errors.New("a frame is too long")
	}
	var mask [4]byte
	if head[1]&masked != 0 {
		if _, err := io.ReadFull(reader, mask[:]); err != nil {
			return 0, nil, err
		}
	}
	payload := make([]byte, length)
	if _, err := io.ReadFull(reader, payload); err != nil {
		return 0, nil, err
	}
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return head[0], payload, nil
}

// writeFrame writes one frame; what a client writes is masked.
func writeFrame(writer io.Writer, kind byte, payload []byte, client bool) error {
	frame := []byte{kind | final, 0}
	switch {
	case len(payload) < 126:
		frame[1] = byte(len(payload))
	case len(payload) < 1<<16:
		frame[1] = 126
		frame = append(frame, byte(len(payload)>>8), byte(len(payload)))
	default:
		return errors.New("a message is too long to be sent")
	}
	if client {
		var mask [4]byte
		if _, err := rand.Read(mask[:]); err != nil {
			return err
		}
		frame[1] |= masked
		frame = append(frame, mask[:]...)
		for i, value := range payload {
			frame = append(frame, value^mask[i%4])
		}
	} else {
		frame = append(frame, payload...)
	}
	_, err := writer.Write(frame)
	return err
}
