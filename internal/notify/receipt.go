package notify

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/clipferry/clipferry/tasks"
)

// sealedFor separates the keys of receipts from the signatures of webhooks,
// which are made with the same secrets.
const sealedFor = "clipferry: the webhook in a receipt, AES-256-GCM"

// Envelope carries whom to notify through the receipts in S3, which outlive Redis.
//
// The address of a webhook may hold a token, and whoever may read the archive
// may read receipts, so it lies there encrypted, by a key that comes from the
// first signing secret. There always is one: without it no webhook is sent. A
// task's type and queue are no secrets.
type Envelope struct{ secrets []secret }

// NewEnvelope returns an Envelope of the signing secrets; with none it carries
// tasks alone.
func NewEnvelope(secrets []string) (Envelope, error) {
	parsed, err := parseSecrets(secrets)
	if err != nil {
		return Envelope{}, fmt.Errorf("notify: %w", err)
	}
	return Envelope{parsed}, nil
}

// Signs reports whether there is a secret to sign webhooks with.
func (e Envelope) Signs() bool { return len(e.secrets) > 0 }

// kept is what a receipt holds of a [tasks.Notify].
type kept struct {
	Sealed   []byte `json:"webhook_sealed,omitempty"` // nonce, ciphertext and tag, bound to the export's id
	TaskType string `json:"task_type,omitempty"`
	Queue    string `json:"queue,omitempty"`
}

// ForReceipt returns what the receipt of an export holds of whom to notify; nil
// for nobody, and for what can't be read or sealed.
func (e Envelope) ForReceipt(id string, notify json.RawMessage) json.RawMessage {
	var to tasks.Notify
	if len(notify) == 0 || json.Unmarshal(notify, &to) != nil {
		return nil
	}
	k := kept{TaskType: to.TaskType, Queue: to.Queue}
	if to.Webhook != "" {
		if !e.Signs() {
			return nil
		}
		box, err := e.secrets[0].box()
		if err != nil {
			return nil
		}
		k.Sealed = box.Seal(nil, nil, []byte(to.Webhook), []byte(id))
	}
	text, _ := json.Marshal(k) // strings and bytes always marshal
	return text
}

// FromReceipt returns whom to notify, as a record holds it, from what ForReceipt
// has put into the export's receipt; nil for nobody.
func (e Envelope) FromReceipt(id string, receipt json.RawMessage) (json.RawMessage, error) {
	if len(receipt) == 0 {
		return nil, nil
	}
	var k kept
	if err := json.Unmarshal(receipt, &k); err != nil {
		return nil, fmt.Errorf("whom to notify of export %s can't be read from its receipt: %w", id, err)
	}
	to := tasks.Notify{TaskType: k.TaskType, Queue: k.Queue}
	if k.Sealed != nil {
		address, err := e.open(id, k.Sealed)
		if err != nil {
			return nil, fmt.Errorf("the webhook of export %s can't be read from its receipt: %w", id, err)
		}
		to.Webhook = address
	}
	return json.Marshal(to)
}

func (e Envelope) open(id string, sealed []byte) (string, error) {
	for _, s := range e.secrets {
		box, err := s.box()
		if err != nil {
			return "", err
		}
		if address, err := box.Open(nil, nil, sealed, []byte(id)); err == nil {
			return string(address), nil
		}
	}
	return "", errors.New("none of the secrets in CLIPFERRY_WEBHOOK_SECRETS has sealed it")
}

// box returns the cipher of the receipts that the secret seals.
func (s secret) box() (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, s, nil, sealedFor, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
