//! An OCSP response (RFC 6960) as a Secret has it -> what a handshake may show beside the certificate. Who signed it is
//! the client's to see.

use std::sync::Arc;

use thiserror::Error;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::model::Staple;

/// Why a response is not shown.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(super) enum StapleError {
    #[error("is no OCSP response in DER")]
    Malformed,
    #[error("the OCSP responder gave no answer, but status {status}")]
    Refused { status: u8 },
    #[error("the OCSP response is about another certificate than the one in tls.crt")]
    OtherCertificate,
    #[error("the OCSP response does not say that the certificate is good")]
    NotGood,
}

/// id-pkix-ocsp-basic, 1.3.6.1.5.5.7.48.1.1
const BASIC: [u8; 9] = [0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];

/// Tags of DER.
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const ENUMERATED: u8 = 0x0a;
const TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// In context: the certificate is good, and nothing more.
const GOOD: u8 = 0x80;
/// In context, with something inside.
const FIRST: u8 = 0xa0;

/// What a response says of the certificate with this serial number, as it stands in the certificate.
pub(super) fn read(response: &[u8], serial: &[u8]) -> Result<Staple, StapleError> {
    let mut answers = answers(response)?;
    loop {
        let (tag, answer) = answers.any().ok_or(StapleError::OtherCertificate)?;
        let about = (tag == SEQUENCE).then(|| About::read(answer)).flatten().ok_or(StapleError::Malformed)?;
        if about.serial != serial {
            continue;
        }
        if !about.is_good {
            return Err(StapleError::NotGood);
        }
        return Ok(Staple { response: Arc::from(response), from: about.from, until: about.until });
    }
}

/// What the response says of each certificate.
fn answers(response: &[u8]) -> Result<Der<'_>, StapleError> {
    let mut whole = Der(response).enter(SEQUENCE).ok_or(StapleError::Malformed)?;
    let status = whole.take(ENUMERATED).ok_or(StapleError::Malformed)?;
    if *status != [0] {
        return Err(StapleError::Refused { status: status.first().copied().unwrap_or_default() });
    }
    whole.basic().ok_or(StapleError::Malformed)
}

/// The answer about one certificate.
struct About<'a> {
    serial: &'a [u8],
    is_good: bool,
    from: i64,
    until: i64,
}

impl<'a> About<'a> {
    fn read(answer: &'a [u8]) -> Option<Self> {
        let mut answer = Der(answer);
        let mut id = answer.enter(SEQUENCE)?;
        id.take(SEQUENCE)?;
        id.take(OCTETS)?;
        id.take(OCTETS)?;
        let serial = id.take(INTEGER)?;
        let (status, _) = answer.any()?;
        let from = answer.time()?;
        let until = match answer.enter(FIRST) {
            Some(mut until) => until.time()?,
            // There is newer information at all times: as good as it was.
            None => i64::MAX,
        };
        Some(Self { serial, is_good: status == GOOD, from, until })
    }
}

/// Values of DER, one after the other.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The answers of `responseBytes`.
    fn basic(mut self) -> Option<Self> {
        let mut typed = self.enter(FIRST)?.enter(SEQUENCE)?;
        if typed.take(OID)? != BASIC {
            return None;
        }
        let mut data = Der(typed.take(OCTETS)?).enter(SEQUENCE)?.enter(SEQUENCE)?;
        // The version, which is the first one where it does not stand, and the responder, by name or by key.
        let (tag, _) = data.any()?;
        if tag == FIRST {
            data.any()?;
        }
        data.take(TIME)?;
        data.enter(SEQUENCE)
    }

    /// What is inside of the next value, if it has this tag.
    fn enter(&mut self, tag: u8) -> Option<Self> {
        self.take(tag).map(Der)
    }

    /// The bytes of the next value, if it has this tag; else it stays.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut rest = *self;
        let (_, value) = rest.any().filter(|(found, _)| *found == tag)?;
        *self = rest;
        Some(value)
    }

    fn time(&mut self) -> Option<i64> {
        let (rest, time) = ASN1Time::from_der(self.0).ok()?;
        self.0 = rest;
        Some(time.timestamp())
    }

    /// The next value, with its tag.
    fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, length], mut rest) = self.0.split_first_chunk()?;
        let mut length = usize::from(length);
        if length >= 0x80 {
            let bytes;
            (bytes, rest) = rest.split_at_checked(length - 0x80).filter(|(bytes, _)| bytes.len() <= 3)?;
            length = bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
        }
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }
}

#[cfg(test)]
pub(in crate::source) mod tests {
    use super::*;

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let value = parts.concat();
        let length = u16::try_from(value.len()).expect("short").to_be_bytes();
        [&[tag, 0x82], &length[..], &value].concat()
    }

    /// A response about some certificates, with their status and end.
    pub(in crate::source) fn response(about: &[(&[u8], u8, Option<&str>)]) -> Vec<u8> {
        let time = |text: &str| der(TIME, &[text.as_bytes()]);
        let answer = |(serial, status, until): &(&[u8], u8, Option<&str>)| {
            let id = der(
                SEQUENCE,
                &[
                    &der(SEQUENCE, &[&der(OID, &[&[0x2b, 14, 3, 2, 26]])]),
                    &der(OCTETS, &[&[1; 20]]),
                    &der(OCTETS, &[&[2; 20]]),
                    &der(INTEGER, &[serial]),
                ],
            );
            let until = until.map(|until| der(FIRST, &[&time(until)])).unwrap_or_default();
            der(SEQUENCE, &[&id, &der(*status, &[]), &time("20250101000000Z"), &until])
        };
        let answers: Vec<Vec<u8>> = about.iter().map(answer).collect();
        let answers: Vec<&[u8]> = answers.iter().map(Vec::as_slice).collect();
        let data = der(
            SEQUENCE,
            &[&der(0xa2, &[&der(OCTETS, &[&[3; 20]])]), &time("20250101000000Z"), &der(SEQUENCE, &answers)],
        );
        let basic = der(SEQUENCE, &[&data, &der(SEQUENCE, &[]), &der(0x03, &[&[0, 1]])]);
        let bytes = der(SEQUENCE, &[&der(OID, &[&BASIC]), &der(OCTETS, &[&basic])]);
        der(SEQUENCE, &[&[ENUMERATED, 1, 0], &der(FIRST, &[&bytes])])
    }

    #[test]
    fn what_is_said_of_the_certificate_counts() {
        let two: &[(&[u8], u8, Option<&str>)] =
            &[(&[1], 0xa1, None), (&[2], GOOD, Some("20260102000000Z")), (&[3], GOOD, None)];
        let response = response(two);
        let read = |serial: &[u8]| read(&response, serial).map(|staple| (staple.from, staple.until));
        assert_eq!(read(&[1]), Err(StapleError::NotGood));
        assert_eq!(read(&[2]), Ok((1_735_689_600, 1_767_312_000)));
        assert_eq!(read(&[3]), Ok((1_735_689_600, i64::MAX)));
        assert_eq!(read(&[4]), Err(StapleError::OtherCertificate));
    }

    #[test]
    fn nonsense_is_told_from_answers() {
        let good = response(&[(&[2], GOOD, Some("20260102000000Z"))]);
        for cut in 0..good.len() {
            assert!(read(&good[..cut], &[2]).is_err(), "{cut}");
        }
        assert_eq!(read(&[], &[2]), Err(StapleError::Malformed));
        assert_eq!(read(b"-----BEGIN OCSP RESPONSE-----", &[2]), Err(StapleError::Malformed));
        assert_eq!(read(&[SEQUENCE, 3, ENUMERATED, 1, 3], &[2]), Err(StapleError::Refused { status: 3 }));
        assert_eq!(read(&[SEQUENCE, 0x84, 0xff, 0xff, 0xff, 0xff], &[2]), Err(StapleError::Malformed));
    }
}
