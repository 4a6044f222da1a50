//! Two small texts.

pub(crate) const ENGLISH: &str = "a model that has read a lot knows how words follow each other. it does not know your words. \
    an adapter is a small part that learns them while the model stays the same. you can keep many adapters beside one \
    model and choose one for each text. a small part is easy to store and easy to share. when the model is needed for \
    something else the adapter is taken away and the model is what it was before. the letters of this text are all that \
    this small model will ever read, and so it will not learn much, but it will learn that a space follows a word and \
    that some letters follow others more often than the rest of them do.";

pub(crate) const GERMAN: &str = "ein modell das viel gelesen hat kennt die folge der worte. deine worte kennt es nicht. ein \
    adapter ist ein kleiner teil der sie lernt, und das modell bleibt wie es ist. viele adapter liegen neben einem modell \
    und jeder text nimmt sich den seinen. ein kleiner teil ist leicht zu speichern und leicht zu teilen. die buchstaben \
    dieses textes sind alles was der adapter liest, und so lernt er nicht viel, aber er lernt dass nach einem wort ein \
    leerzeichen folgt und dass manche buchstaben auf andere folgen als im text zuvor.";
