//! What a client asks, and what the map says it must be answered.

use super::*;

impl Client {
    /// Compares what was answered with what had to be.
    pub(super) fn check(&self) {
        let length = self.answered.len().min(self.expected.len());
        let differs = (0..length).find(|i| self.answered[*i] != self.expected[*i]);
        if let Some(at) = differs {
            let around = at.saturating_sub(100)..(at + 100).min(length);
            panic!(
                "client {} was answered {:?} instead of {:?}",
                self.name,
                String::from_utf8_lossy(&self.answered[around.clone()]),
                String::from_utf8_lossy(&self.expected[around]),
            );
        }
        assert_eq!(
            self.answered.len(),
            self.expected.len(),
            "client {}",
            self.name
        );
    }

    /// Adds a random command or transaction to what is to be sent, and its answer to what is expected.
    pub(super) fn invent(&mut self, dice: &mut Dice) {
        if dice.is_one_in(12) {
            self.transaction(dice);
        } else {
            self.invent_command(dice);
        }
    }

    /// Some commands in a transaction, which runs, is discarded, or is off for what was watched.
    fn transaction(&mut self, dice: &mut Dice) {
        let is_watching = dice.is_one_in(2);
        let is_off = is_watching && dice.is_one_in(2);
        if is_watching {
            let mut keys = self.keys_of(dice);
            self.many(b"WATCH", &keys);
            self.expected.extend_from_slice(b"+OK\r\n");
            if is_off {
                let key = keys.swap_remove(dice.below(keys.len()));
                self.set(&key, dice);
            }
        }
        self.command(&[b"MULTI"]);
        self.expected.extend_from_slice(b"+OK\r\n");
        let keys = self.keys.clone();
        let mut expected = std::mem::take(&mut self.expected);
        let first = self.command_count;
        (0..dice.below(6)).for_each(|_| self.invent_command(dice));
        let count = self.command_count - first;
        let replies = std::mem::take(&mut self.expected);
        expected.extend(b"+QUEUED\r\n".repeat(count));
        let is_discarded = dice.is_one_in(8);
        if is_discarded {
            self.command(&[b"DISCARD"]);
            expected.extend_from_slice(b"+OK\r\n");
        } else {
            self.command(&[b"EXEC"]);
            let header = format!("*{}\r\n", count);
            expected.extend(if is_off {
                b"*-1\r\n"
            } else {
                header.as_bytes()
            });
        }
        self.expected = expected;
        if is_discarded || is_off {
            self.keys = keys;
        } else {
            self.expected.extend(replies);
        }
    }

    pub(super) fn invent_command(&mut self, dice: &mut Dice) {
        let key = self.key(dice);
        match dice.below(18) {
            0..3 => self.set(&key, dice),
            3 => self.get(&key),
            16 => self.length(&key),
            17 => self.kind(&key),
            4 => self.increment(&key),
            5 => self.append(&key, dice),
            6 => self.delete(dice),
            7 => self.get_many(dice),
            8 => self.set_many(dice),
            9 => self.set_many_if_none(dice),
            10 => self.rename(&key, dice),
            11 => self.copy(&key, dice),
            12 => self.expire(&key),
            13 => self.get_range(&key, dice),
            14 => self.exists(dice),
            _ => {
                self.command(&[b"ECHO", &key]);
                bulk(&mut self.expected, Some(&key));
            }
        }
    }

    fn key(&self, dice: &mut Dice) -> Vec<u8> {
        format!("client:{}:{}", self.name, dice.below(KEY_COUNT)).into_bytes()
    }

    fn keys_of(&self, dice: &mut Dice) -> Vec<Vec<u8>> {
        (0..=dice.below(6)).map(|_| self.key(dice)).collect()
    }

    fn value(&self, dice: &mut Dice) -> Vec<u8> {
        let len_bytes = match dice.below(self.long_value_chances * 10) {
            0 => 262_000 + dice.below(400_000),
            1 => 100_000 + dice.below(162_000),
            2..10 => dice.below(30_000),
            _ => dice.below(40),
        };
        (b'a'..=b'z').cycle().take(len_bytes).collect()
    }

    pub(super) fn command(&mut self, arguments: &[&[u8]]) {
        self.command_count += 1;
        self.unsent
            .extend_from_slice(format!("*{}\r\n", arguments.len()).as_bytes());
        arguments
            .iter()
            .for_each(|argument| bulk(&mut self.unsent, Some(argument)));
    }

    fn set(&mut self, key: &[u8], dice: &mut Dice) {
        let value = if dice.is_one_in(3) {
            b"41".to_vec()
        } else {
            self.value(dice)
        };
        self.command(&[b"SET", key, &value]);
        self.expected.extend_from_slice(b"+OK\r\n");
        self.keys.insert(
            key.to_vec(),
            Entry {
                value,
                expires_at_ms: None,
            },
        );
    }

    fn get(&mut self, key: &[u8]) {
        self.command(&[b"GET", key]);
        bulk(
            &mut self.expected,
            self.keys.get(key).map(|entry| entry.value.as_slice()),
        );
    }

    fn length(&mut self, key: &[u8]) {
        self.command(&[b"STRLEN", key]);
        let length = self.keys.get(key).map_or(0, |entry| entry.value.len());
        self.expected
            .extend_from_slice(format!(":{length}\r\n").as_bytes());
    }

    fn kind(&mut self, key: &[u8]) {
        self.command(&[b"TYPE", key]);
        let is_there = self.keys.contains_key(key);
        self.expected.extend_from_slice(if is_there {
            b"+string\r\n"
        } else {
            b"+none\r\n"
        });
    }

    fn increment(&mut self, key: &[u8]) {
        self.command(&[b"INCR", key]);
        let entry = self.keys.entry(key.to_vec()).or_insert(Entry {
            value: b"0".to_vec(),
            expires_at_ms: None,
        });
        let text = String::from_utf8_lossy(&entry.value);
        match text.parse::<i64>() {
            Ok(number) => {
                entry.value = (number + 1).to_string().into_bytes();
                self.expected
                    .extend_from_slice(format!(":{}\r\n", number + 1).as_bytes());
            }
            Err(_) => self
                .expected
                .extend_from_slice(b"-ERR value is not an integer or out of range\r\n"),
        }
    }

    fn append(&mut self, key: &[u8], dice: &mut Dice) {
        let tail = self.value(dice);
        self.command(&[b"APPEND", key, &tail]);
        let entry = self.keys.entry(key.to_vec()).or_default();
        entry.value.extend_from_slice(&tail);
        self.expected
            .extend_from_slice(format!(":{}\r\n", entry.value.len()).as_bytes());
    }

    fn delete(&mut self, dice: &mut Dice) {
        let keys = self.keys_of(dice);
        self.many(if dice.is_one_in(2) { b"DEL" } else { b"UNLINK" }, &keys);
        let count = keys
            .iter()
            .filter(|key| self.keys.remove(*key).is_some())
            .count();
        self.expected
            .extend_from_slice(format!(":{count}\r\n").as_bytes());
    }

    fn exists(&mut self, dice: &mut Dice) {
        let keys = self.keys_of(dice);
        self.many(b"EXISTS", &keys);
        let count = keys
            .iter()
            .filter(|key| self.keys.contains_key(*key))
            .count();
        self.expected
            .extend_from_slice(format!(":{count}\r\n").as_bytes());
    }

    fn get_many(&mut self, dice: &mut Dice) {
        let keys = self.keys_of(dice);
        self.many(b"MGET", &keys);
        self.expected
            .extend_from_slice(format!("*{}\r\n", keys.len()).as_bytes());
        for key in &keys {
            bulk(
                &mut self.expected,
                self.keys.get(key).map(|entry| entry.value.as_slice()),
            );
        }
    }

    fn set_many(&mut self, dice: &mut Dice) {
        let pairs: Vec<_> = self
            .keys_of(dice)
            .into_iter()
            .map(|key| (key, self.value(dice)))
            .collect();
        self.pairs(b"MSET", &pairs);
        self.expected.extend_from_slice(b"+OK\r\n");
        self.insert_all(pairs);
    }

    fn set_many_if_none(&mut self, dice: &mut Dice) {
        let pairs: Vec<_> = self
            .keys_of(dice)
            .into_iter()
            .map(|key| (key, b"fresh".to_vec()))
            .collect();
        self.pairs(b"MSETNX", &pairs);
        let is_fresh = pairs.iter().all(|(key, _)| !self.keys.contains_key(key));
        self.expected
            .extend_from_slice(if is_fresh { b":1\r\n" } else { b":0\r\n" });
        if is_fresh {
            self.insert_all(pairs);
        }
    }

    fn rename(&mut self, source: &[u8], dice: &mut Dice) {
        let target = self.key(dice);
        let only_new = dice.is_one_in(2);
        self.command(&[
            if only_new { b"RENAMENX" } else { b"RENAME" },
            source,
            &target,
        ]);
        if !self.keys.contains_key(source) {
            self.expected.extend_from_slice(b"-ERR no such key\r\n");
        } else if only_new && self.keys.contains_key(&target) {
            self.expected.extend_from_slice(b":0\r\n");
        } else {
            let entry = self.keys.remove(source).expect("looked at");
            self.keys.insert(target, entry);
            self.expected
                .extend_from_slice(if only_new { b":1\r\n" } else { b"+OK\r\n" });
        }
    }

    fn copy(&mut self, source: &[u8], dice: &mut Dice) {
        let target = self.key(dice);
        if target == source {
            return;
        }
        self.command(&[b"COPY", source, &target, b"REPLACE"]);
        match self.keys.get(source).cloned() {
            None => self.expected.extend_from_slice(b":0\r\n"),
            Some(entry) => {
                self.keys.insert(target, entry);
                self.expected.extend_from_slice(b":1\r\n");
            }
        }
    }

    fn expire(&mut self, key: &[u8]) {
        let at = EXPIRES_AT_MS.to_string();
        self.command(&[b"PEXPIREAT", key, at.as_bytes()]);
        self.command(&[b"PEXPIRETIME", key]);
        match self.keys.get_mut(key) {
            None => self.expected.extend_from_slice(b":0\r\n:-2\r\n"),
            Some(entry) => {
                entry.expires_at_ms = Some(EXPIRES_AT_MS);
                self.expected
                    .extend_from_slice(format!(":1\r\n:{at}\r\n").as_bytes());
            }
        }
    }

    fn get_range(&mut self, key: &[u8], dice: &mut Dice) {
        let (start, end) = (dice.below(50), dice.below(500_000));
        let (first, last) = (start.to_string(), end.to_string());
        self.command(&[b"GETRANGE", key, first.as_bytes(), last.as_bytes()]);
        let value = self.keys.get(key).map_or(&[][..], |entry| &entry.value);
        let end = (end + 1).min(value.len());
        bulk(
            &mut self.expected,
            Some(value.get(start..end).unwrap_or_default()),
        );
    }

    fn many(&mut self, name: &[u8], keys: &[Vec<u8>]) {
        let arguments: Vec<&[u8]> = std::iter::once(name)
            .chain(keys.iter().map(Vec::as_slice))
            .collect();
        self.command(&arguments);
    }

    fn pairs(&mut self, name: &[u8], pairs: &[(Vec<u8>, Vec<u8>)]) {
        let flat = pairs
            .iter()
            .flat_map(|(key, value)| [key.as_slice(), value.as_slice()]);
        let arguments: Vec<&[u8]> = std::iter::once(name).chain(flat).collect();
        self.command(&arguments);
    }

    fn insert_all(&mut self, pairs: Vec<(Vec<u8>, Vec<u8>)>) {
        for (key, value) in pairs {
            self.keys.insert(
                key,
                Entry {
                    value,
                    expires_at_ms: None,
                },
            );
        }
    }
}

fn bulk(into: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => into.extend_from_slice(b"$-1\r\n"),
        Some(value) => {
            into.extend_from_slice(format!("${}\r\n", value.len()).as_bytes());
            into.extend_from_slice(value);
            into.extend_from_slice(b"\r\n");
        }
    }
}
